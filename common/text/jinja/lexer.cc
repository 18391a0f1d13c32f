#include "common/text/jinja/lexer.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/jinja/python_text.h"
#include "common/text/jinja/string_literal.h"

namespace tandem::jinja {
namespace {

constexpr size_t kNone = absl::string_view::npos;

// Newlines become '\n'; one at the very end is dropped.
std::string NormalizeNewlines(absl::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out.push_back('\n');
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out.push_back(source[i]);
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool IsNameByte(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || (c & 0x80);
}

class Lexer {
 public:
  explicit Lexer(absl::string_view source)
      : normalized_(NormalizeNewlines(source)), source_(normalized_) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (pos_ < source_.size()) RETURN_IF_ERROR(LexRoot());
    Push(Token::kEnd, "");
    return std::move(tokens_);
  }

 private:
  absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("line ", line_, ": ", what));
  }
  void Push(Token::Type type, absl::string_view text) {
    tokens_.push_back(Token{type, std::string(text), line_});
  }
  bool At(absl::string_view text) const { return absl::StartsWith(source_.substr(pos_), text); }
  void Advance(size_t count) {
    for (const char c : source_.substr(pos_, count)) line_ += c == '\n';
    pos_ += count;
    if (count > 0) line_starting_ = source_[pos_ - 1] == '\n';
  }
  size_t SpacesAt(size_t pos) const {
    const absl::string_view rest = source_.substr(pos);
    return rest.size() - StripLeft(rest).size();
  }

  // Takes `end` if it is here, with the whitespace after it that its sign removes.
  bool TakeEnd(absl::string_view end, bool trim_newline) {
    const bool minus = At(absl::StrCat("-", end));
    const bool plus = trim_newline && At(absl::StrCat("+", end));
    if (!minus && !plus && !At(end)) return false;
    size_t length = end.size() + (minus || plus ? 1 : 0);
    if (minus) length += SpacesAt(pos_ + length);
    if (!minus && !plus && trim_newline && source_.substr(pos_ + length, 1) == "\n") ++length;
    Advance(length);
    return true;
  }

  // The data up to `tag`, with the whitespace before the tag that it removes.
  absl::string_view StripBeforeTag(absl::string_view data, char sign, bool is_variable) const {
    if (sign == '-') return StripRight(data);
    if (sign == '+' || is_variable) return data;
    const size_t newline = data.rfind('\n');
    const size_t line_begin = newline == kNone ? 0 : newline + 1;
    if (line_begin == 0 && !line_starting_) return data;
    return StripLeft(data.substr(line_begin)).empty() ? data.substr(0, line_begin) : data;
  }

  // Text up to the next tag, and the tag's beginning.
  absl::Status LexRoot() {
    size_t tag = pos_;
    while (true) {
      tag = source_.find('{', tag);
      if (tag == kNone || tag + 1 >= source_.size()) {
        Push(Token::kData, source_.substr(pos_));
        pos_ = source_.size();
        return absl::OkStatus();
      }
      const char next = source_[tag + 1];
      if (next == '%' || next == '{' || next == '#') break;
      ++tag;
    }
    const char kind = source_[tag + 1];
    const char after = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    const char sign = after == '-' || after == '+' ? after : ' ';
    const absl::string_view data =
        StripBeforeTag(source_.substr(pos_, tag - pos_), sign, kind == '{');
    if (!data.empty()) Push(Token::kData, data);
    Advance(tag + 2 + (sign == ' ' ? 0 : 1) - pos_);
    if (kind == '#') return SkipComment();
    if (kind == '%' && TakeRawBegin()) return LexRaw();
    Push(kind == '%' ? Token::kBlockBegin : Token::kVariableBegin, "");
    return LexExpression(kind == '%');
  }

  absl::Status SkipComment() {
    const int begin_line = line_;
    while (pos_ < source_.size()) {
      if (TakeEnd("#}", /*trim_newline=*/true)) return absl::OkStatus();
      Advance(1);
    }
    line_ = begin_line;
    return Error("the comment has no end");
  }

  // "raw %}" after a block's beginning.
  bool TakeRawBegin() {
    const size_t word = pos_ + SpacesAt(pos_);
    if (!absl::StartsWith(source_.substr(word), "raw")) return false;
    const size_t end = word + 3 + SpacesAt(word + 3);
    const absl::string_view rest = source_.substr(end);
    if (!absl::StartsWith(rest, "%}") && !absl::StartsWith(rest, "-%}")) return false;
    Advance(end - pos_);
    return TakeEnd("%}", /*trim_newline=*/false);
  }

  absl::Status LexRaw() {
    const int begin_line = line_;
    for (size_t tag = source_.find("{%", pos_); tag != kNone; tag = source_.find("{%", tag + 2)) {
      size_t word = tag + 2;
      const char sign = source_.substr(word, 1) == "-"   ? '-'
                        : source_.substr(word, 1) == "+" ? '+'
                                                         : ' ';
      if (sign != ' ') ++word;
      word += SpacesAt(word);
      if (!absl::StartsWith(source_.substr(word), "endraw")) continue;
      const absl::string_view data =
          StripBeforeTag(source_.substr(pos_, tag - pos_), sign, /*is_variable=*/false);
      if (!data.empty()) Push(Token::kData, data);
      word += 6;
      Advance(word + SpacesAt(word) - pos_);
      if (TakeEnd("%}", /*trim_newline=*/true)) return absl::OkStatus();
      return Error("endraw has no end");
    }
    line_ = begin_line;
    return Error("the raw block has no end");
  }

  absl::Status LexExpression(bool is_block) {
    std::string open_brackets;
    while (pos_ < source_.size()) {
      Advance(SpacesAt(pos_));
      if (open_brackets.empty()) {
        const int line = line_;
        if (TakeEnd(is_block ? "%}" : "}}", /*trim_newline=*/is_block)) {
          Push(is_block ? Token::kBlockEnd : Token::kVariableEnd, "");
          tokens_.back().line = line;
          return absl::OkStatus();
        }
      }
      if (pos_ >= source_.size()) break;
      RETURN_IF_ERROR(LexToken(open_brackets));
    }
    return Error("the tag has no end");
  }

  absl::Status LexToken(std::string& open_brackets) {
    const char c = source_[pos_];
    if (absl::ascii_isdigit(static_cast<unsigned char>(c))) return LexNumber();
    if (c == '\'' || c == '"') return LexString(c);
    if (IsNameByte(c)) {
      size_t end = pos_;
      while (end < source_.size() && IsNameByte(source_[end])) ++end;
      Push(Token::kName, source_.substr(pos_, end - pos_));
      Advance(end - pos_);
      return absl::OkStatus();
    }
    for (const absl::string_view op :
         {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
          "]",  "(",  ")",  "{",  "}",  "<",  ">", "=", ".", ":", "|", ",", ";"}) {
      if (!At(op)) continue;
      RETURN_IF_ERROR(Balance(c, open_brackets));
      Push(Token::kOperator, op);
      Advance(op.size());
      return absl::OkStatus();
    }
    return Error(absl::StrCat("unexpected character '", std::string(1, c), "'"));
  }

  absl::Status Balance(char c, std::string& open_brackets) const {
    if (c == '(') open_brackets.push_back(')');
    if (c == '[') open_brackets.push_back(']');
    if (c == '{') open_brackets.push_back('}');
    if (c != ')' && c != ']' && c != '}') return absl::OkStatus();
    if (open_brackets.empty() || open_brackets.back() != c) {
      return Error(absl::StrCat("unexpected '", std::string(1, c), "'"));
    }
    open_brackets.pop_back();
    return absl::OkStatus();
  }

  size_t DigitsEnd(size_t pos) const {
    const auto digit = [&](size_t i) {
      return i < source_.size() && absl::ascii_isdigit(static_cast<unsigned char>(source_[i]));
    };
    while (digit(pos) || (pos < source_.size() && source_[pos] == '_' && digit(pos + 1))) ++pos;
    return pos;
  }

  absl::Status LexNumber() {
    const bool after_dot = !tokens_.empty() && tokens_.back().type == Token::kOperator &&
                           tokens_.back().text == "." && source_[pos_ - 1] == '.';
    size_t end = DigitsEnd(pos_);
    bool real = false;
    if (!after_dot) {
      size_t fraction = end;
      if (source_.substr(end, 1) == "." && DigitsEnd(end + 1) > end + 1 &&
          source_[end + 1] != '_') {
        fraction = end = DigitsEnd(end + 1);
        real = true;
      }
      if (source_.substr(fraction, 1) == "e" || source_.substr(fraction, 1) == "E") {
        size_t exponent = fraction + 1;
        if (source_.substr(exponent, 1) == "+" || source_.substr(exponent, 1) == "-") ++exponent;
        if (DigitsEnd(exponent) > exponent && source_[exponent] != '_') {
          end = DigitsEnd(exponent);
          real = true;
        }
      }
    }
    std::string digits(source_.substr(pos_, end - pos_));
    digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
    Push(real ? Token::kFloat : Token::kInteger, digits);
    const bool parsed = real ? absl::SimpleAtod(digits, &tokens_.back().real)
                             : absl::SimpleAtoi(digits, &tokens_.back().integer);
    const bool octal =
        !real && digits.size() > 1 && digits[0] == '0' && tokens_.back().integer != 0;
    if (!parsed || octal || (end < source_.size() && IsNameByte(source_[end]))) {
      return Error(absl::StrCat("the number ", digits, " is not supported"));
    }
    Advance(end - pos_);
    return absl::OkStatus();
  }

  absl::Status LexString(char quote) {
    size_t end = pos_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return Error("the string has no end");
    const auto value = UnescapeStringLiteral(source_.substr(pos_ + 1, end - pos_ - 1));
    if (!value.ok()) return Error(value.status().message());
    Push(Token::kString, *value);
    Advance(end + 1 - pos_);
    return absl::OkStatus();
  }

  const std::string normalized_;
  const absl::string_view source_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // whether what was read last ended with a newline
  std::vector<Token> tokens_;
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source) {
  return Lexer(source).Run();
}

}  // namespace tandem::jinja
