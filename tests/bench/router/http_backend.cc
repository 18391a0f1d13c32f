// An OpenAI-compatible backend that answers at once, or at a pace, with made-up text: what other
// routers are measured in front of. One thread, epoll.
//
// usage: http_backend PORT_FILE PACE_MICROSECONDS [prefill]
// A POST is answered with `max_tokens` events, a finish event and [DONE], or one JSON body. Without
// a pace every stream gets its next event when the last one has left; with one, all streams get one
// at each tick, as an engine's step gives them. `prefill`: one token, whatever was asked.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/base/check.h"

namespace tandem::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::string_view kEvent =
    R"(data: {"id":"cmpl-0123456789abcdef0123456789abcdef","object":"text_completion",)"
    R"("created":1764000000,"model":"bench","choices":[{"index":0,"text":" words",)"
    R"("logprobs":null,"finish_reason":null,"stop_reason":null}]})"
    "\n\n";
constexpr std::string_view kFinishEvent =
    R"(data: {"id":"cmpl-0123456789abcdef0123456789abcdef","object":"text_completion",)"
    R"("created":1764000000,"model":"bench","choices":[{"index":0,"text":"",)"
    R"("logprobs":null,"finish_reason":"length","stop_reason":null}]})"
    "\n\n";
constexpr std::string_view kBody =
    R"({"id":"cmpl-0123456789abcdef0123456789abcdef","object":"text_completion",)"
    R"("created":1764000000,"model":"bench","choices":[{"index":0,"text":" words",)"
    R"("logprobs":null,"finish_reason":"length","stop_reason":null}],"usage":)"
    R"({"prompt_tokens":8,"total_tokens":9,"completion_tokens":1}})";
constexpr std::string_view kInfo =
    R"({"status":"ok","object":"list","data":[{"id":"bench","object":"model"}]})";

std::string Chunk(std::string_view payload) {
  char size[16];
  std::snprintf(size, sizeof size, "%zx\r\n", payload.size());
  return std::string(size).append(payload).append("\r\n");
}

struct Connection {
  int fd = -1;
  std::string in, out;
  uint32_t left = 0;  // events of the answer in progress
  bool streaming = false;
  bool wants_out = false;
};

class Backend {
 public:
  Backend(std::chrono::microseconds pace, bool prefill) : pace_(pace), prefill_(prefill) {}

  int Listen() {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof address;
    TANDEM_CHECK(bind(listener_, raw, size) == 0 && listen(listener_, 4096) == 0);
    TANDEM_CHECK(getsockname(listener_, raw, &size) == 0);
    Watch(listener_, EPOLLIN, EPOLL_CTL_ADD);
    return ntohs(address.sin_port);
  }

  void Run() {
    auto next_tick = SteadyClock::now();
    while (true) {
      int timeout_ms = -1;
      if (!streams_.empty()) timeout_ms = pace_.count() == 0 ? 0 : 1;
      epoll_event events[256];
      const int count = epoll_wait(epoll_, events, 256, timeout_ms);
      for (int i = 0; i < count; ++i) OnReady(events[i].data.fd, events[i].events);
      const auto now = SteadyClock::now();
      if (pace_.count() > 0 && now < next_tick) continue;
      next_tick = std::max(next_tick + pace_, now);
      const std::vector<int> due(streams_);
      for (int fd : due) Step(fd);
    }
  }

 private:
  void Watch(int fd, uint32_t events, int operation) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    epoll_ctl(epoll_, operation, fd, &event);
  }

  void OnReady(int fd, uint32_t events) {
    if (fd == listener_) return Accept();
    const auto found = connections_.find(fd);
    if (found == connections_.end()) return;
    Connection& c = *found->second;
    if ((events & EPOLLOUT) != 0 && !Flush(c)) return Drop(fd);
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
    char bytes[16384];
    while (true) {
      const ssize_t size = read(fd, bytes, sizeof bytes);
      if (size == 0 || (size < 0 && errno != EAGAIN)) return Drop(fd);
      if (size < 0) break;
      c.in.append(bytes, size);
      if (size < static_cast<ssize_t>(sizeof bytes)) break;
    }
    Answer(c);
    if (!Flush(c)) Drop(fd);
  }

  void Accept() {
    while (true) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK);
      if (fd < 0) return;
      const int one = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      auto connection = std::make_unique<Connection>();
      connection->fd = fd;
      connections_[fd] = std::move(connection);
      Watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
  }

  // Takes whole requests out of the input, one at a time.
  void Answer(Connection& c) {
    while (!c.streaming) {
      const size_t head = c.in.find("\r\n\r\n");
      if (head == std::string::npos) return;
      const size_t length = ContentLength(std::string_view(c.in).substr(0, head));
      if (c.in.size() < head + 4 + length) return;
      const std::string_view body = std::string_view(c.in).substr(head + 4, length);
      const bool post = c.in.compare(0, 4, "POST") == 0;
      const bool stream = post && (body.find("\"stream\":true") != body.npos ||
                                   body.find("\"stream\": true") != body.npos);
      if (stream) {
        c.left = prefill_ ? 1 : MaxTokens(body);
        c.streaming = true;
        c.out +=
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            "Transfer-Encoding: chunked\r\n\r\n";
        streams_.push_back(c.fd);
      } else {
        const std::string_view answer = post ? kBody : kInfo;
        c.out += "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " +
                 std::to_string(answer.size()) + "\r\n\r\n";
        c.out += answer;
      }
      c.in.erase(0, head + 4 + length);
    }
  }

  static size_t ContentLength(std::string_view head) {
    for (size_t at = 0; (at = head.find('\n', at)) != head.npos;) {
      const std::string_view line = head.substr(++at, 15);
      if (line.size() == 15 && strncasecmp(line.data(), "content-length:", 15) == 0) {
        return std::strtoul(head.data() + at + 15, nullptr, 10);
      }
    }
    return 0;
  }

  static uint32_t MaxTokens(std::string_view body) {
    const size_t at = body.find("\"max_tokens\":");
    return at == body.npos ? 16 : std::strtoul(body.data() + at + 13, nullptr, 10);
  }

  void Step(int fd) {
    const auto found = connections_.find(fd);
    if (found == connections_.end()) return Forget(fd);
    Connection& c = *found->second;
    if (!c.out.empty() && pace_.count() == 0) return;
    if (c.left > 0) {
      c.out += event_;
      --c.left;
    } else {
      c.out += end_;
      c.streaming = false;
      Forget(fd);
      Answer(c);
    }
    if (!Flush(c)) Drop(fd);
  }

  // False: the connection is broken.
  bool Flush(Connection& c) {
    size_t sent = 0;
    while (sent < c.out.size()) {
      const ssize_t size = send(c.fd, c.out.data() + sent, c.out.size() - sent, MSG_NOSIGNAL);
      if (size < 0 && errno != EAGAIN) return false;
      if (size < 0) break;
      sent += size;
    }
    c.out.erase(0, sent);
    if (c.wants_out != !c.out.empty()) {
      c.wants_out = !c.out.empty();
      Watch(c.fd, c.wants_out ? EPOLLIN | EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
    }
    return true;
  }

  void Forget(int fd) { std::erase(streams_, fd); }
  void Drop(int fd) {
    Forget(fd);
    connections_.erase(fd);
    close(fd);
  }

  const std::chrono::microseconds pace_;
  const bool prefill_;
  const std::string event_ = Chunk(kEvent);
  const std::string end_ = Chunk(kFinishEvent) + Chunk("data: [DONE]\n\n") + "0\r\n\r\n";
  const int epoll_ = epoll_create1(0);
  int listener_ = -1;
  std::unordered_map<int, std::unique_ptr<Connection>> connections_;
  std::vector<int> streams_;  // connections with a stream in progress
};

}  // namespace
}  // namespace tandem::bench

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: http_backend PORT_FILE PACE_US [prefill]\n");
    return 2;
  }
  const bool prefill = argc > 3 && std::strcmp(argv[3], "prefill") == 0;
  tandem::bench::Backend backend(std::chrono::microseconds(std::atol(argv[2])), prefill);
  const int port = backend.Listen();
  std::FILE* file = std::fopen(argv[1], "w");
  TANDEM_CHECK(file != nullptr && std::fprintf(file, "%d\n", port) > 0 && std::fclose(file) == 0);
  backend.Run();
}
