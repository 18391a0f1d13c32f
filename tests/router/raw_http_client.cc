#include "tests/router/raw_http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tandem {

RawHttpClient::RawHttpClient(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const timeval limit{10, 0};
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) Close();
}

RawHttpClient::~RawHttpClient() { Close(); }

void RawHttpClient::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

void RawHttpClient::CloseSending() { shutdown(fd_, SHUT_WR); }

bool RawHttpClient::Send(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

bool RawHttpClient::Fill() {
  char chunk[16384];
  const ssize_t n = recv(fd_, chunk, sizeof chunk, 0);
  if (n <= 0) return false;
  buffer_.append(chunk, static_cast<size_t>(n));
  return true;
}

bool RawHttpClient::TakeLine(std::string* line) {
  size_t end;
  while ((end = buffer_.find("\r\n")) == std::string::npos) {
    if (!Fill()) return false;
  }
  *line = buffer_.substr(0, end);
  buffer_.erase(0, end + 2);
  return true;
}

bool RawHttpClient::TakeBytes(size_t count, std::string* bytes) {
  while (buffer_.size() < count) {
    if (!Fill()) return false;
  }
  bytes->append(buffer_, 0, count);
  buffer_.erase(0, count);
  return true;
}

RawResponse RawHttpClient::Receive(bool head) {
  RawResponse response;
  std::string line;
  int status = 0;
  do {
    while (status != 0 && TakeLine(&line) && !line.empty()) {
    }
    if (!TakeLine(&line) || line.size() < 12 || !absl::SimpleAtoi(line.substr(9, 3), &status)) {
      return response;
    }
  } while (status < 200);
  while (TakeLine(&line) && !line.empty()) {
    const std::pair<std::string, std::string> field =
        absl::StrSplit(line, absl::MaxSplits(": ", 1));
    response.headers[absl::AsciiStrToLower(field.first)] = field.second;
  }
  if (response.headers.count("transfer-encoding") != 0) {
    while (true) {
      if (!TakeLine(&line)) return response;
      const size_t size = std::strtoul(line.c_str(), nullptr, 16);
      std::string end;
      if (!TakeBytes(size, &response.body) || !TakeBytes(2, &end)) return response;
      if (size == 0) break;
    }
  } else if (response.headers.count("content-length") != 0) {
    size_t size = 0;
    if (!absl::SimpleAtoi(response.headers["content-length"], &size)) return response;
    if (!head && !TakeBytes(size, &response.body)) return response;
  } else {
    while (Fill()) {
    }
    response.body = std::move(buffer_);
    buffer_.clear();
  }
  response.status = status;
  return response;
}

bool RawHttpClient::ReceiveUntil(absl::string_view text) {
  while (!absl::StrContains(buffer_, text)) {
    if (!Fill()) return false;
  }
  return true;
}

bool RawHttpClient::PeerCloses() {
  char chunk[16384];
  while (true) {
    const ssize_t n = recv(fd_, chunk, sizeof chunk, 0);
    if (n > 0) continue;
    return n == 0 || errno == ECONNRESET;
  }
}

RawResponse RawHttpClient::Get(const std::string& path) {
  Send(absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: x\r\n\r\n"));
  return Receive();
}

RawResponse RawHttpClient::Post(const std::string& path, const std::string& body,
                                const std::string& headers) {
  Send(absl::StrCat("POST ", path, " HTTP/1.1\r\nHost: x\r\nContent-Length: ", body.size(), "\r\n",
                    headers, "\r\n", body));
  return Receive();
}

}  // namespace tandem
