#include "router/openai/api_error.h"

#include "nlohmann/json.hpp"

namespace tandem {
namespace {

// A message may quote what the client sent, which may be megabytes.
constexpr size_t kMaxMessageBytes = 1024;

std::string Shortened(const std::string& message) {
  return message.size() <= kMaxMessageBytes ? message : message.substr(0, kMaxMessageBytes) + "...";
}

}  // namespace

absl::string_view ApiErrorType(int status) {
  switch (status) {
    case 400:
      return "BadRequestError";
    case 404:
      return "NotFoundError";
    case 405:
      return "MethodNotAllowedError";
    case 408:
      return "RequestTimeoutError";
    case 413:
      return "RequestEntityTooLarge";
    case 429:
      return "RateLimitError";
    case 431:
      return "RequestHeaderFieldsTooLarge";
    case 501:
      return "NotImplementedError";
    case 503:
      return "ServiceUnavailable";
    case 504:
      return "GatewayTimeout";
    default:
      return status < 500 ? "BadRequestError" : "InternalServerError";
  }
}

std::string ErrorBody(const ApiError& error) {
  using Json = nlohmann::ordered_json;
  const Json json = {{"error",
                      {{"message", Shortened(error.message)},
                       {"type", ApiErrorType(error.status)},
                       {"param", error.param.empty() ? Json(nullptr) : Json(error.param)},
                       {"code", error.status}}}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace tandem
