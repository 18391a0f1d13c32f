// The head of an HTTP/1.1 response as bytes, and the request id that every response carries.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "router/http/http_server.h"

namespace tandem {

struct HeadOptions {
  std::optional<size_t> content_length;  // none: chunked, or until the connection closes
  bool chunked = false;
  bool keep_alive = true;
  bool http_1_0 = false;
  absl::string_view request_id;
};

std::string ResponseHead(const HttpResponse& response, const HeadOptions& options);
absl::string_view ReasonPhrase(int status);

// The client's id when it is 1 to 128 printable ASCII characters, else 32 random hex digits (a
// version 4 UUID without dashes).
std::string ChooseRequestId(absl::string_view from_client);

}  // namespace tandem
