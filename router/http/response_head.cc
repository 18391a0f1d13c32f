#include "router/http/response_head.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "router/random_bits.h"

namespace tandem {

absl::string_view ReasonPhrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Payload Too Large";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "Unknown";
  }
}

std::string ResponseHead(const HttpResponse& response, const HeadOptions& options) {
  std::string head = absl::StrCat(options.http_1_0 ? "HTTP/1.0 " : "HTTP/1.1 ", response.status,
                                  " ", ReasonPhrase(response.status), "\r\nServer: tandem\r\n");
  if (!response.content_type.empty()) {
    absl::StrAppend(&head, "Content-Type: ", response.content_type, "\r\n");
  }
  if (options.content_length.has_value()) {
    absl::StrAppend(&head, "Content-Length: ", *options.content_length, "\r\n");
  } else if (options.chunked) {
    absl::StrAppend(&head, "Transfer-Encoding: chunked\r\n");
  }
  absl::StrAppend(&head, "X-Request-Id: ", options.request_id, "\r\n");
  for (const auto& [name, value] : response.headers) {
    absl::StrAppend(&head, name, ": ", value, "\r\n");
  }
  absl::StrAppend(&head, "Connection: ", options.keep_alive ? "keep-alive" : "close", "\r\n\r\n");
  return head;
}

std::string ChooseRequestId(absl::string_view from_client) {
  const bool usable = !from_client.empty() && from_client.size() <= 128 &&
                      std::all_of(from_client.begin(), from_client.end(),
                                  [](char c) { return c > ' ' && c < 127; });
  if (usable) return std::string(from_client);
  const uint64_t high = (RandomBits() & ~uint64_t{0xF000}) | 0x4000;
  const uint64_t low = (RandomBits() & ~(uint64_t{3} << 62)) | (uint64_t{2} << 62);
  return absl::StrCat(absl::Hex(high, absl::kZeroPad16), absl::Hex(low, absl::kZeroPad16));
}

}  // namespace tandem
