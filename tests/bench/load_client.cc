// Sends requests to OpenAI-compatible servers as a file says (request_plan.h) and writes, once all
// have ended, one line of JSON a request to standard output:
//
//   id, start (when it should have been sent), sent, first_byte, done: seconds since the client
//   began events: times of the events that carry output; status; finish_reason; whole ([DONE]
//   came); usage, timings, error, text where there are any; cut: closed by `until`
//
// One thread, epoll; nothing of an answer is parsed before the last request has ended, so the
// client takes as little as possible of the cores that it shares with what it measures. usage:
// load_client PLAN.jsonl [LIMIT_SECONDS]
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "tests/bench/event_reader.h"
#include "tests/bench/request_plan.h"

namespace tandem::bench {
namespace {

constexpr size_t kReadBytes = 65536;

double Now() {
  static const auto begin = std::chrono::steady_clock::now();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

struct Exchange {
  int socket = -1;
  size_t written = 0;
  double start = -1, sent = -1, done = -1;  // negative: not yet
  bool cut = false;
  std::string error;
  EventReader reader;
};

class LoadClient {
 public:
  explicit LoadClient(std::vector<PlannedRequest> plan)
      : plan_(std::move(plan)), exchanges_(plan_.size()), epoll_(epoll_create1(0)) {}

  // Returns when every request has ended or the limit is over.
  void Run(double limit_s);
  void Print() const;

 private:
  bool Ended(int i) const { return exchanges_[i].done >= 0; }
  // When request i is due; negative: that depends on others.
  double Due(size_t i) const;
  // Starts what is due, closes what is to be cut; returns the seconds until the next known due
  // time.
  double Advance();
  void Start(size_t i, double due);
  void Write(size_t i);
  void Read(size_t i);
  void End(size_t i, const std::string& error);

  const std::vector<PlannedRequest> plan_;
  std::vector<Exchange> exchanges_;
  const int epoll_;
  size_t ended_ = 0;
};

double LoadClient::Due(size_t i) const {
  const PlannedRequest& request = plan_[i];
  double from = 0;
  if (request.previous >= 0) {
    if (!Ended(request.previous)) return -1;
    from = exchanges_[request.previous].done;
  }
  if (request.after >= 0) {
    const auto& events = exchanges_[request.after].reader.events();
    if (events.size() < request.after_events) return Ended(request.after) ? Now() : -1;
    from = std::max(from, events[request.after_events - 1].time);
    return from + request.at;
  }
  return std::max(from, request.at);
}

double LoadClient::Advance() {
  double wait = 3600;
  for (size_t i = 0; i < plan_.size(); ++i) {
    Exchange& exchange = exchanges_[i];
    if (exchange.done >= 0) continue;
    if (exchange.start >= 0) {
      const auto& until = plan_[i].until;
      if (!until.empty() &&
          std::all_of(until.begin(), until.end(), [&](int u) { return Ended(u); })) {
        exchange.cut = true;
        End(i, "");
      }
      continue;
    }
    const double due = Due(i);
    if (due < 0) continue;
    if (due <= Now()) {
      Start(i, due);
    } else {
      wait = std::min(wait, due - Now());
    }
  }
  return wait;
}

void LoadClient::Start(size_t i, double due) {
  Exchange& exchange = exchanges_[i];
  exchange.start = due;
  exchange.socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int one = 1;
  setsockopt(exchange.socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(plan_[i].port));
  inet_pton(AF_INET, plan_[i].address.c_str(), &address.sin_addr);
  exchange.sent = Now();
  if (connect(exchange.socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 &&
      errno != EINPROGRESS) {
    return End(i, std::strerror(errno));
  }
  epoll_event event{.events = EPOLLOUT | EPOLLIN, .data = {.u64 = i}};
  epoll_ctl(epoll_, EPOLL_CTL_ADD, exchange.socket, &event);
}

void LoadClient::Write(size_t i) {
  Exchange& exchange = exchanges_[i];
  const std::string& bytes = plan_[i].bytes;
  const ssize_t n = send(exchange.socket, bytes.data() + exchange.written,
                         bytes.size() - exchange.written, MSG_NOSIGNAL);
  if (n < 0) {
    if (errno != EAGAIN) End(i, std::strerror(errno));
    return;
  }
  exchange.written += n;
  if (exchange.written < bytes.size()) return;
  epoll_event event{.events = EPOLLIN, .data = {.u64 = i}};
  epoll_ctl(epoll_, EPOLL_CTL_MOD, exchange.socket, &event);
}

void LoadClient::Read(size_t i) {
  static char buffer[kReadBytes];
  Exchange& exchange = exchanges_[i];
  const ssize_t n = recv(exchange.socket, buffer, sizeof buffer, 0);
  if (n < 0) {
    if (errno != EAGAIN) End(i, std::strerror(errno));
    return;
  }
  if (!exchange.reader.Feed({buffer, static_cast<size_t>(n)}, Now())) return End(i, "not HTTP");
  if (n == 0 || exchange.reader.complete()) End(i, "");
}

void LoadClient::End(size_t i, const std::string& error) {
  Exchange& exchange = exchanges_[i];
  if (exchange.socket >= 0) close(exchange.socket);
  exchange.socket = -1;
  exchange.done = Now();
  exchange.error = error;
  ++ended_;
}

void LoadClient::Run(double limit_s) {
  std::vector<epoll_event> ready(64);
  while (ended_ < plan_.size() && Now() < limit_s) {
    const size_t ended_before = ended_;
    const double wait = std::min(Advance(), limit_s - Now());
    if (ended_ != ended_before) continue;  // others may have waited for that
    // A timer of whole milliseconds: sleep one too few and look again rather than send too late.
    const int wait_ms = std::max(0, static_cast<int>(wait * 1e3));
    const int count = epoll_wait(epoll_, ready.data(), static_cast<int>(ready.size()), wait_ms);
    for (int r = 0; r < count; ++r) {
      const size_t i = ready[r].data.u64;
      if (exchanges_[i].socket >= 0 && (ready[r].events & EPOLLOUT) != 0) Write(i);
      if (exchanges_[i].socket >= 0 && (ready[r].events & ~EPOLLOUT) != 0) Read(i);
    }
  }
  for (size_t i = 0; i < plan_.size(); ++i) {
    if (!Ended(static_cast<int>(i))) End(i, "not within the limit");
  }
}

void LoadClient::Print() const {
  for (size_t i = 0; i < plan_.size(); ++i) {
    const Exchange& exchange = exchanges_[i];
    nlohmann::json line = ReadAnswer(exchange.reader);
    line["id"] = plan_[i].id;
    line["start"] = exchange.start;
    line["sent"] = exchange.sent;
    line["first_byte"] = exchange.reader.first_byte();
    line["done"] = exchange.done;
    line["cut"] = exchange.cut;
    if (!exchange.error.empty()) line["error"] = exchange.error;
    std::printf("%s\n",
                line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  }
}

}  // namespace
}  // namespace tandem::bench

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: load_client PLAN.jsonl [LIMIT_SECONDS]\n");
    return 2;
  }
  tandem::bench::LoadClient client(tandem::bench::ReadPlan(argv[1]));
  client.Run(argc > 2 ? std::atof(argv[2]) : 600);
  client.Print();
}
