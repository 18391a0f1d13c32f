// A closed-loop client for the rates of a router: each connection sends its next request when the
// last one is answered. One thread, epoll; prints one JSON line.
//
// usage: router_load PORT CONNECTIONS WARM_SECONDS SECONDS MAX_TOKENS stream|whole [WORDS]
// WORDS: length of the prompt, 8 unless given; each begins with another number, so that no cache
// knows it. Requests under way at the end of the warm-up or of
// the run are not counted as requests; events are counted as they arrive. Times in microseconds.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/check.h"

namespace tandem::bench {
namespace {

uint64_t NowUs() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

double Percentile(std::vector<uint32_t>& values, double share) {
  if (values.empty()) return 0;
  const size_t rank = std::min(values.size() - 1, static_cast<size_t>(values.size() * share));
  std::nth_element(values.begin(), values.begin() + rank, values.end());
  return values[rank];
}

struct Connection {
  enum class Part { kHead, kSize, kPayload, kPayloadEnd, kBody };
  int fd = -1;
  Part part = Part::kHead;
  std::string line;  // an incomplete head or chunk-size line
  size_t left = 0;   // of the chunk or body
  bool last_chunk = false;
  char last_byte = 0;  // of the payload, to see an event's end across chunks
  uint64_t sent_at = 0, first_at = 0;
};

class Load {
 public:
  Load(int port, int connections, uint32_t max_tokens, bool stream, int words) {
    std::string prompt(kNumberDigits, '0');
    for (int i = 1; i < words; ++i) prompt += " upon";
    const std::string body = "{\"model\":\"bench\",\"prompt\":\"" + prompt +
                             "\",\"max_tokens\":" + std::to_string(max_tokens) +
                             ",\"ignore_eos\":true,\"stream\":" + (stream ? "true" : "false") + "}";
    request_ =
        "POST /v1/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        "Content-Length: " +
        std::to_string(body.size()) + "\r\n\r\n" + body;
    number_at_ = request_.find("\"prompt\":\"") + std::strlen("\"prompt\":\"");
    connections_.resize(connections);
    for (int i = 0; i < connections; ++i) Connect(i, port);
  }

  void Run(double seconds) {
    const uint64_t until = NowUs() + static_cast<uint64_t>(seconds * 1e6);
    while (NowUs() < until) {
      epoll_event events[256];
      const int count = epoll_wait(epoll_, events, 256, 10);
      for (int i = 0; i < count; ++i) OnReady(connections_[events[i].data.u32]);
    }
  }

  void Start() {
    for (Connection& c : connections_) Send(c);
  }

  void StartCounting() {
    events_ = requests_ = failed_ = 0;
    first_us_.clear();
    whole_us_.clear();
    counting_from_ = NowUs();
  }

  void Report() {
    const double seconds = (NowUs() - counting_from_) / 1e6;
    std::printf(
        "{\"requests_per_second\":%.1f,\"events_per_second\":%.1f,\"failed\":%llu,"
        "\"requests\":%llu,\"events\":%llu,\"seconds\":%.3f,\"first_p50_us\":%.0f,"
        "\"first_p99_us\":%.0f,\"whole_p50_us\":%.0f,\"whole_p99_us\":%.0f}\n",
        requests_ / seconds, events_ / seconds, static_cast<unsigned long long>(failed_),
        static_cast<unsigned long long>(requests_), static_cast<unsigned long long>(events_),
        seconds, Percentile(first_us_, 0.5), Percentile(first_us_, 0.99),
        Percentile(whole_us_, 0.5), Percentile(whole_us_, 0.99));
  }

 private:
  void Connect(int index, int port) {
    Connection& c = connections_[index];
    c.fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    TANDEM_CHECK(connect(c.fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    const int one = 1;
    setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c.fd, F_SETFL, O_NONBLOCK | fcntl(c.fd, F_GETFL));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u32 = static_cast<uint32_t>(index);
    epoll_ctl(epoll_, EPOLL_CTL_ADD, c.fd, &event);
  }

  void Send(Connection& c) {
    c.part = Connection::Part::kHead;
    c.first_at = 0;
    c.sent_at = NowUs();
    NumberPrompt();
    const ssize_t size = send(c.fd, request_.data(), request_.size(), MSG_NOSIGNAL);
    TANDEM_CHECK_MSG(size == static_cast<ssize_t>(request_.size()), "a request was not taken");
  }

  void NumberPrompt() {
    uint64_t rest = ++number_;
    for (size_t i = kNumberDigits; i-- > 0; rest /= 10) {
      request_[number_at_ + i] = static_cast<char>('0' + rest % 10);
    }
  }

  void OnReady(Connection& c) {
    const ssize_t size = read(c.fd, buffer_, sizeof buffer_);
    if (size < 0 && errno == EAGAIN) return;
    TANDEM_CHECK_MSG(size > 0, "the router closed a connection");
    std::string_view bytes(buffer_, size);
    while (!bytes.empty()) bytes.remove_prefix(Take(c, bytes));
  }

  // Takes the front of `bytes`; returns how much.
  size_t Take(Connection& c, std::string_view bytes) {
    using Part = Connection::Part;
    if (c.part == Part::kHead || c.part == Part::kSize || c.part == Part::kPayloadEnd) {
      const size_t end = bytes.find('\n');
      c.line.append(bytes.substr(0, end == bytes.npos ? end : end + 1));
      if (end == bytes.npos) return bytes.size();
      OnLine(c);
      return end + 1;
    }
    const std::string_view payload = bytes.substr(0, c.left);
    c.left -= payload.size();
    if (c.part == Part::kPayload) CountEvents(c, payload);
    if (c.left == 0 && c.part == Part::kBody) Answered(c);
    if (c.left == 0 && c.part == Part::kPayload) c.part = Part::kPayloadEnd;
    return payload.size();
  }

  void OnLine(Connection& c) {
    using Part = Connection::Part;
    if (c.part == Part::kHead) {
      if (c.line.size() < 4 || c.line.compare(c.line.size() - 4, 4, "\r\n\r\n") != 0) return;
      if (c.line.compare(9, 3, "200") != 0) ++failed_;
      const char* length = strcasestr(c.line.c_str(), "\r\ncontent-length:");
      c.part = length != nullptr ? Part::kBody : Part::kSize;
      if (length != nullptr) c.left = std::strtoul(length + 17, nullptr, 10);
    } else if (c.part == Part::kSize) {
      c.left = std::strtoul(c.line.c_str(), nullptr, 16);
      c.last_chunk = c.left == 0;
      c.part = c.last_chunk ? Part::kPayloadEnd : Part::kPayload;
    } else {
      c.part = Part::kSize;
      if (c.last_chunk) Answered(c);
    }
    c.line.clear();
  }

  // An event ends with an empty line.
  void CountEvents(Connection& c, std::string_view payload) {
    const char* at = payload.data();
    const char* const end = at + payload.size();
    while ((at = static_cast<const char*>(std::memchr(at, '\n', end - at))) != nullptr) {
      if ((at == payload.data() ? c.last_byte : at[-1]) == '\n') {
        ++events_;
        if (c.first_at == 0) c.first_at = NowUs();
      }
      ++at;
    }
    c.last_byte = payload.back();
  }

  void Answered(Connection& c) {
    if (c.sent_at >= counting_from_) {
      ++requests_;
      whole_us_.push_back(static_cast<uint32_t>(NowUs() - c.sent_at));
      if (c.first_at != 0) first_us_.push_back(static_cast<uint32_t>(c.first_at - c.sent_at));
    }
    Send(c);
  }

  static constexpr size_t kNumberDigits = 8;

  std::string request_;
  size_t number_at_ = 0;
  uint64_t number_ = NowUs();  // of the last prompt; another run begins elsewhere
  const int epoll_ = epoll_create1(0);
  std::vector<Connection> connections_;
  char buffer_[1 << 16];
  uint64_t counting_from_ = 0;
  uint64_t requests_ = 0, failed_ = 0, events_ = 0;
  std::vector<uint32_t> first_us_, whole_us_;
};

}  // namespace
}  // namespace tandem::bench

int main(int argc, char** argv) {
  if (argc < 7) {
    std::fprintf(stderr,
                 "usage: router_load PORT CONNECTIONS WARM_S SECONDS MAX_TOKENS "
                 "stream|whole [WORDS]\n");
    return 2;
  }
  tandem::bench::Load load(std::atoi(argv[1]), std::atoi(argv[2]),
                           static_cast<uint32_t>(std::atoi(argv[5])),
                           std::strcmp(argv[6], "stream") == 0, argc > 7 ? std::atoi(argv[7]) : 8);
  load.Start();
  load.Run(std::atof(argv[3]));
  load.StartCounting();
  load.Run(std::atof(argv[4]));
  load.Report();
}
