#include "common/text/jinja/json_text.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "common/text/jinja/operators.h"
#include "common/text/jinja/python_text.h"
#include "common/text/utf8.h"

namespace tandem::jinja {
namespace {

TrackedText RequestText(const std::string& text) {
  return TrackedText(IsWellFormedUtf8(text) ? text : ReplaceIllFormed(text), /*trusted=*/false);
}

absl::StatusOr<Value> Convert(const nlohmann::ordered_json& json, int depth, Budget& budget) {
  if (depth > kMaxContainerDepth) {
    return absl::ResourceExhaustedError("the request is nested too deeply");
  }
  RETURN_IF_ERROR(budget.Build(sizeof(Value)));
  switch (json.type()) {
    case nlohmann::ordered_json::value_t::null:
      return Value::None();
    case nlohmann::ordered_json::value_t::boolean:
      return Value::Bool(json.get<bool>());
    case nlohmann::ordered_json::value_t::number_integer:
      return Value::Int(json.get<int64_t>());
    case nlohmann::ordered_json::value_t::number_float:
      return Value::Float(json.get<double>());
    case nlohmann::ordered_json::value_t::number_unsigned:
      if (json.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return TypeError("an integer does not fit in 64 bits");
      }
      return Value::Int(static_cast<int64_t>(json.get<uint64_t>()));
    case nlohmann::ordered_json::value_t::string: {
      const std::string& text = json.get_ref<const std::string&>();
      RETURN_IF_ERROR(budget.Build(text.size()));
      return Value::Text(RequestText(text));
    }
    case nlohmann::ordered_json::value_t::array: {
      List list;
      list.items.reserve(json.size());
      for (const auto& element : json) {
        ASSIGN_OR_RETURN(Value item, Convert(element, depth + 1, budget));
        list.items.push_back(std::move(item));
      }
      return Value::MakeList(std::move(list));
    }
    case nlohmann::ordered_json::value_t::object: {
      Dict dict;
      for (const auto& [key, element] : json.items()) {
        RETURN_IF_ERROR(budget.Build(key.size()));
        ASSIGN_OR_RETURN(Value item, Convert(element, depth + 1, budget));
        dict.Set(RequestText(key), std::move(item));
      }
      return Value::MakeDict(std::move(dict));
    }
    default:
      return TypeError("the request holds a value that is no JSON");
  }
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Budget& budget)
      : style_(style),
        budget_(budget),
        trusted_(style.item_separator.trusted() && style.key_separator.trusted()) {}

  absl::Status Write(const Value& value, int64_t level) {
    RETURN_IF_ERROR(budget_.Step());
    switch (value.kind()) {
      case Value::kNone:
        out_ += "null";
        return absl::OkStatus();
      case Value::kBool:
        out_ += value.bool_value() ? "true" : "false";
        return absl::OkStatus();
      case Value::kInt:
        absl::StrAppend(&out_, value.int_value());
        return absl::OkStatus();
      case Value::kFloat:
        WriteFloat(value.float_value());
        return absl::OkStatus();
      case Value::kText:
        return WriteString(value.text());
      case Value::kList:
        return WriteList(value.list(), level);
      case Value::kDict:
        return WriteDict(value.dict(), level);
      case Value::kUndefined:
        return UndefinedError(value);
      default:
        return TypeError(absl::StrCat("a ", TypeName(value), " cannot be written as JSON"));
    }
  }

  TrackedText Finish() { return TrackedText(std::move(out_), trusted_); }

 private:
  void WriteFloat(double value) {
    if (std::isnan(value)) {
      out_ += "NaN";
    } else if (std::isinf(value)) {
      out_ += value > 0 ? "Infinity" : "-Infinity";
    } else {
      out_ += ReprFloat(value);
    }
  }

  absl::Status WriteString(const TrackedText& text) {
    RETURN_IF_ERROR(budget_.Build(text.size()));
    trusted_ = trusted_ && text.trusted();
    out_.push_back('"');
    for (size_t pos = 0; pos < text.size();) {
      const Utf8Step step = ReadUtf8(text.view(), pos);
      pos += step.num_bytes;
      WriteCharacter(step.value);
    }
    out_.push_back('"');
    return absl::OkStatus();
  }

  void WriteCharacter(char32_t c) {
    switch (c) {
      case '"':
        out_ += "\\\"";
        return;
      case '\\':
        out_ += "\\\\";
        return;
      case '\n':
        out_ += "\\n";
        return;
      case '\r':
        out_ += "\\r";
        return;
      case '\t':
        out_ += "\\t";
        return;
      case '\b':
        out_ += "\\b";
        return;
      case '\f':
        out_ += "\\f";
        return;
      default:
        break;
    }
    const auto code = static_cast<uint32_t>(c);
    if (code >= 0x20 && (code < 0x7F || !style_.ascii_only)) {
      AppendUtf8(c, out_);
    } else if (code < 0x10000) {
      absl::StrAppendFormat(&out_, "\\u%04x", code);
    } else {
      const uint32_t offset = code - 0x10000;
      absl::StrAppendFormat(&out_, "\\u%04x\\u%04x", 0xD800 + (offset >> 10),
                            0xDC00 + (offset & 0x3FF));
    }
  }

  absl::Status NewLine(int64_t level) {
    if (!style_.indent) return absl::OkStatus();
    const size_t spaces = static_cast<size_t>(*style_.indent * level);
    RETURN_IF_ERROR(budget_.Build(spaces));
    out_.push_back('\n');
    out_.append(spaces, ' ');
    return absl::OkStatus();
  }

  absl::Status WriteList(const List& list, int64_t level) {
    if (list.flavor > List::kTuple) return TypeError("an iterator cannot be written as JSON");
    if (list.items.empty()) {
      out_ += "[]";
      return absl::OkStatus();
    }
    out_.push_back('[');
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator.bytes();
      RETURN_IF_ERROR(NewLine(level + 1));
      RETURN_IF_ERROR(Write(list.items[i], level + 1));
    }
    RETURN_IF_ERROR(NewLine(level));
    out_.push_back(']');
    return absl::OkStatus();
  }

  absl::Status WriteDict(const Dict& dict, int64_t level) {
    if (dict.entries().empty()) {
      out_ += "{}";
      return absl::OkStatus();
    }
    std::vector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::sort(entries.begin(), entries.end(), [](const Dict::Entry* a, const Dict::Entry* b) {
        return a->key.bytes() < b->key.bytes();
      });
    }
    out_.push_back('{');
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_ += style_.item_separator.bytes();
      RETURN_IF_ERROR(NewLine(level + 1));
      RETURN_IF_ERROR(WriteString(entries[i]->key));
      out_ += style_.key_separator.bytes();
      RETURN_IF_ERROR(Write(entries[i]->value, level + 1));
    }
    RETURN_IF_ERROR(NewLine(level));
    out_.push_back('}');
    return absl::OkStatus();
  }

  const JsonStyle& style_;
  Budget& budget_;
  std::string out_;
  bool trusted_;
};

}  // namespace

absl::StatusOr<Value> ValueFromJson(const nlohmann::ordered_json& json, Budget& budget) {
  return Convert(json, 0, budget);
}

absl::StatusOr<TrackedText> ToJson(const Value& value, const JsonStyle& style, Budget& budget) {
  JsonWriter writer(style, budget);
  RETURN_IF_ERROR(writer.Write(value, 0));
  return writer.Finish();
}

}  // namespace tandem::jinja
