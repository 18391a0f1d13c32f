// FieldReader takes typed values out of one JSON object. The first thing wrong is kept and ends the
// reading: later calls return their defaults. null counts as absent.
// Thread-compatible; keeps a reference to the object.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/base/ids.h"
#include "nlohmann/json.hpp"
#include "router/openai/api_error.h"

namespace tandem {

using Json = nlohmann::ordered_json;

// Parses `body` into an object of at most `max_depth` levels. No object in it may have more than
// `max_members` members: an ordered_json looks its members up one by one, so that reading an object
// takes the square of their number.
Parsed<Json> ParseJsonObject(absl::string_view body, size_t max_depth, size_t max_members);

class FieldReader {
 public:
  explicit FieldReader(const Json& object) : object_(object) {}

  // The field, unless absent or null.
  const Json* Get(const char* name) const;
  bool Bool(const char* name, bool fallback);
  std::optional<int64_t> Int(const char* name, int64_t min, int64_t max);
  std::optional<double> Number(const char* name, double min, double max);
  std::optional<std::string> String(const char* name);
  // Token ids below `vocab_size`.
  std::vector<TokenId> Tokens(const char* name, const Json& list, size_t vocab_size);

  // These say that the field, with this value, would change the answer and is not supported.
  void RefuseUnless(bool neutral, const char* name);
  void RefuseNumberOtherThan(const char* name, double neutral);
  // Neutral: absent, false, zero, empty string, list or object.
  void RefuseNonEmpty(const char* name);

  void Fail(std::string message, const char* name);
  bool ok() const { return !error_.has_value(); }
  const ApiError& error() const { return *error_; }

 private:
  const Json& object_;
  std::optional<ApiError> error_;
};

}  // namespace tandem
