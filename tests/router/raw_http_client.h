// A blocking HTTP/1.1 client on one socket that sends exactly the bytes it is given. For tests:
// every wait ends after ten seconds with a failure.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/string_view.h"

namespace tandem {

struct RawResponse {
  int status = 0;                              // 0: the connection ended before a whole answer
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // chunks joined
};

class RawHttpClient {
 public:
  explicit RawHttpClient(uint16_t port);
  ~RawHttpClient();
  RawHttpClient(const RawHttpClient&) = delete;
  RawHttpClient& operator=(const RawHttpClient&) = delete;

  // False when the peer has closed.
  bool Send(absl::string_view bytes);
  // Interim answers (1xx) are passed over.
  RawResponse Receive(bool head = false);
  // Reads until `text` was seen; false when the connection ends first.
  bool ReceiveUntil(absl::string_view text);
  // Whether the peer ends the connection, after whatever it still sends.
  bool PeerCloses();
  void Close();
  // Sends no more, but still listens.
  void CloseSending();

  RawResponse Get(const std::string& path);
  RawResponse Post(const std::string& path, const std::string& body,
                   const std::string& headers = "");

 private:
  bool Fill();
  bool TakeLine(std::string* line);
  bool TakeBytes(size_t count, std::string* bytes);

  int fd_ = -1;
  std::string buffer_;
};

}  // namespace tandem
