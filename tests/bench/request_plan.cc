#include "tests/bench/request_plan.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <utility>

#include "tests/bench/event_reader.h"

namespace tandem::bench {
namespace {

using Json = nlohmann::json;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "load_client: %s\n", what.c_str());
  std::exit(2);
}

std::string HttpRequest(const std::string& target, const std::string& path,
                        const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: " + target +
         "\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" + body;
}

// Whether an event carries output: usage and role events do not.
bool CarriesOutput(const Json& choice) {
  const auto filled = [](const Json& object, const char* name) {
    const auto it = object.find(name);
    return it != object.end() && it->is_string() && !it->get_ref<const std::string&>().empty();
  };
  const auto delta = choice.find("delta");
  if (delta != choice.end()) return filled(*delta, "content");
  const auto ids = choice.find("token_ids");
  return filled(choice, "text") || (ids != choice.end() && ids->is_array() && !ids->empty());
}

}  // namespace

std::vector<PlannedRequest> ReadPlan(const std::string& path) {
  std::ifstream file(path);
  if (!file) Die("cannot read " + path);
  std::vector<PlannedRequest> plan;
  std::map<std::string, int> ids, lanes;
  for (std::string line; std::getline(file, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (!json.is_object()) Die("not a JSON object: " + line.substr(0, 80));
    const int index = static_cast<int>(plan.size());
    PlannedRequest request;
    request.id = json.value("id", std::to_string(index));
    const std::string target = json.value("target", "");
    const size_t colon = target.rfind(':');
    if (colon == std::string::npos) Die(request.id + ": the target is no ADDRESS:PORT");
    request.address = target.substr(0, colon);
    request.port = std::atoi(target.c_str() + colon + 1);
    request.bytes = HttpRequest(target, json.value("path", ""), json.value("body", Json()).dump());
    request.at = json.value("at", 0.0);
    request.after_events = json.value("after_events", 1);
    if (json.contains("lane")) {
      const auto [it, is_new] = lanes.try_emplace(json["lane"].dump(), index);
      request.previous = is_new ? -1 : std::exchange(it->second, index);
    }
    if (!ids.emplace(request.id, index).second) Die(request.id + " is there twice");
    plan.push_back(std::move(request));
  }
  // Names may point forward, so they are looked up once all are known.
  file.clear();
  file.seekg(0);
  const auto index_of = [&](const std::string& id) {
    const auto it = ids.find(id);
    if (it == ids.end()) Die("no request is named " + id);
    return it->second;
  };
  for (PlannedRequest& request : plan) {
    std::string line;
    std::getline(file, line);
    const Json json = Json::parse(line);
    if (json.contains("after")) request.after = index_of(json["after"].get<std::string>());
    for (const Json& id : json.value("until", Json::array())) {
      request.until.push_back(index_of(id.get<std::string>()));
    }
  }
  return plan;
}

Json ReadAnswer(const EventReader& reader) {
  Json answer = {{"status", reader.status()}, {"finish_reason", nullptr}};
  Json times = Json::array(), counts = Json::array();
  bool whole = false;
  for (const TimedEvent& event : reader.events()) {
    if (event.data == "[DONE]") {
      whole = true;
      continue;
    }
    const Json json = Json::parse(event.data, nullptr, false);
    if (!json.is_object()) {
      answer["error"] = "an event is no JSON: " + event.data.substr(0, 200);
      continue;
    }
    for (const char* name : {"usage", "timings", "error"}) {
      if (json.contains(name) && !json[name].is_null()) answer[name] = json[name];
    }
    const Json choices = json.value("choices", Json::array());
    if (choices.empty()) continue;
    if (CarriesOutput(choices[0])) {
      times.push_back(event.time);
      const Json ids = choices[0].value("token_ids", Json());
      counts.push_back(ids.is_array() ? ids.size() : 1);
    }
    if (const auto it = choices[0].find("finish_reason");
        it != choices[0].end() && !it->is_null()) {
      answer["finish_reason"] = *it;
    }
  }
  answer["events"] = std::move(times);
  answer["counts"] = std::move(counts);
  answer["whole"] = whole;
  if (!reader.text().empty()) answer["text"] = reader.text().substr(0, 500);
  return answer;
}

}  // namespace tandem::bench
