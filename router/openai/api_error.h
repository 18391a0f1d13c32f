// An error as the OpenAI API tells it: {"error":{message,type,param,code}}. Not for errors inside
// Tandem; those are absl::Status.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/string_view.h"
#include "common/base/check.h"
#include "common/base/clock.h"

namespace tandem {

struct ApiError {
  int status = 400;  // HTTP; the type follows from it
  std::string message;
  std::string param;       // the field at fault; empty: null
  Duration retry_after{};  // 0: none
};

inline ApiError BadRequest(std::string message, std::string param = "") {
  return ApiError{400, std::move(message), std::move(param), {}};
}

// "BadRequestError" and so on, by status.
absl::string_view ApiErrorType(int status);
// The whole body. A long message is cut; text that is not UTF-8 is repaired.
std::string ErrorBody(const ApiError& error);

// A value or the error that says what to correct.
template <class T>
class [[nodiscard]] Parsed {
 public:
  Parsed(T value) : result_(std::move(value)) {}
  Parsed(ApiError error) : result_(std::move(error)) {}
  bool ok() const { return result_.index() == 0; }
  // REQUIRES: ok().
  T& value() {
    TANDEM_CHECK(ok());
    return *std::get_if<0>(&result_);
  }
  // REQUIRES: !ok().
  const ApiError& error() const {
    TANDEM_CHECK(!ok());
    return *std::get_if<1>(&result_);
  }

 private:
  std::variant<T, ApiError> result_;
};

}  // namespace tandem
