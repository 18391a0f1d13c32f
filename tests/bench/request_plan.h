// What the load client is to send: one request a line of a JSON-lines file.
//
//   id      names the request in the results; unique
//   target  "127.0.0.1:8000" (an IPv4 address)
//   path    "/v1/completions"
//   body    an object, sent as it stands
//   at      seconds after the start at which it is sent at the earliest (0)
//   lane    requests of one lane run one after another, in the order of the file; without: alone
//   after, after_events   sent when the request `after` has had that many events (1), `at` counts
//           from then
//   until   list of ids: the connection is closed when all of them have ended
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/bench/event_reader.h"

namespace tandem::bench {

struct PlannedRequest {
  std::string id;
  std::string address;
  int port = 0;
  std::string bytes;  // the whole HTTP request
  double at = 0;
  int previous = -1;  // of its lane
  int after = -1;
  size_t after_events = 1;
  std::vector<int> until;
};

// Exits with a message when the file cannot be used: a measurement of something else is worth
// nothing.
std::vector<PlannedRequest> ReadPlan(const std::string& path);

// The result of a request as a line of JSON; see load_client.cc.
nlohmann::json ReadAnswer(const EventReader& reader);

}  // namespace tandem::bench
