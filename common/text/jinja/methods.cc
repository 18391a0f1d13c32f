// The methods of strings, lists, dicts and loops, and the arguments of calls.

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/operators.h"
#include "common/text/jinja/python_text.h"

namespace tandem::jinja {

const Value* Arguments::Find(size_t position, absl::string_view name) const {
  if (position < positional.size()) return &positional[position];
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

absl::Status Arguments::Check(absl::string_view what,
                              absl::Span<const absl::string_view> names) const {
  if (positional.size() > names.size())
    return TypeError(absl::StrCat("too many arguments for ", what));
  for (size_t i = 0; i < named.size(); ++i) {
    const auto known = std::find(names.begin() + static_cast<ptrdiff_t>(positional.size()),
                                 names.end(), absl::string_view(named[i].first));
    bool twice = false;
    for (size_t j = 0; j < i; ++j) twice = twice || named[j].first == named[i].first;
    if (known == names.end() || twice) {
      return TypeError(absl::StrCat("unexpected argument ", named[i].first, " for ", what));
    }
  }
  return absl::OkStatus();
}

namespace {

struct Call {
  absl::string_view name;
  const Value& receiver;
  const Arguments& arguments;
  Budget& budget;

  const TrackedText& text() const { return receiver.text(); }
};

absl::StatusOr<TrackedText> RequiredText(const Call& call, size_t position,
                                         absl::string_view name) {
  const Value* value = call.arguments.Find(position, name);
  if (value == nullptr || !value->is(Value::kText)) {
    return TypeError(absl::StrCat(call.name, "() needs a string"));
  }
  return value->text();
}

// Null for an absent argument or None.
absl::StatusOr<std::optional<std::string>> OptionalText(const Call& call, size_t position,
                                                        absl::string_view name) {
  const Value* value = call.arguments.Find(position, name);
  if (value == nullptr || value->is(Value::kNone)) return std::nullopt;
  if (!value->is(Value::kText)) return TypeError(absl::StrCat(call.name, "() takes a string"));
  return value->text().bytes();
}

absl::StatusOr<int64_t> OptionalInteger(const Call& call, size_t position, absl::string_view name,
                                        int64_t otherwise) {
  const Value* value = call.arguments.Find(position, name);
  if (value == nullptr) return otherwise;
  const auto integer = AsInteger(*value);
  if (!integer) return TypeError(absl::StrCat(call.name, "() takes an integer"));
  return *integer;
}

absl::StatusOr<Value> TextList(std::vector<TrackedText> parts, Budget& budget) {
  RETURN_IF_ERROR(budget.Build(parts.size() * kTextValueBytes));
  List list;
  list.items.reserve(parts.size());
  for (TrackedText& part : parts) list.items.push_back(Value::Text(std::move(part)));
  return Value::MakeList(std::move(list));
}

absl::StatusOr<Value> CallStrip(const Call& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"chars"}));
  ASSIGN_OR_RETURN(const auto chars, OptionalText(call, 0, "chars"));
  return Value::Text(Strip(call.text(), chars, call.name != "rstrip", call.name != "lstrip"));
}

absl::StatusOr<Value> CallSplit(const Call& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"sep", "maxsplit"}));
  ASSIGN_OR_RETURN(const auto separator, OptionalText(call, 0, "sep"));
  ASSIGN_OR_RETURN(const int64_t max_count, OptionalInteger(call, 1, "maxsplit", -1));
  if (separator && separator->empty()) return TypeError("empty separator");
  const bool from_right = call.name == "rsplit";
  if (from_right && !separator && max_count >= 0) {
    return absl::UnimplementedError("rsplit by whitespace with a limit is not supported");
  }
  return TextList(Split(call.text(), separator, max_count, from_right), call.budget);
}

absl::StatusOr<Value> CallStartsOrEndsWith(const Call& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"prefix"}));
  const Value* argument = call.arguments.Find(0, "prefix");
  if (argument == nullptr) return TypeError(absl::StrCat(call.name, "() needs a string"));
  const bool tuple = argument->is(Value::kList) && argument->list().flavor == List::kTuple;
  const std::vector<Value> choices = tuple ? argument->list().items : std::vector<Value>{*argument};
  bool found = false;
  for (const Value& choice : choices) {
    if (!choice.is(Value::kText)) return TypeError(absl::StrCat(call.name, "() takes a string"));
    found = found ||
            (call.name == "startswith" ? absl::StartsWith(call.text().view(), choice.text().view())
                                       : absl::EndsWith(call.text().view(), choice.text().view()));
  }
  return Value::Bool(found);
}

absl::StatusOr<Value> CallChangeCase(const Call& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {}));
  const LetterCase to = call.name == "upper"   ? LetterCase::kUpper
                        : call.name == "lower" ? LetterCase::kLower
                        : call.name == "title" ? LetterCase::kTitle
                                               : LetterCase::kCapitalize;
  return Value::Text(ChangeCase(call.text(), to));
}

absl::StatusOr<Value> CallReplace(const Call& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"old", "new", "count"}));
  ASSIGN_OR_RETURN(const TrackedText from, RequiredText(call, 0, "old"));
  ASSIGN_OR_RETURN(const TrackedText to, RequiredText(call, 1, "new"));
  ASSIGN_OR_RETURN(const int64_t count, OptionalInteger(call, 2, "count", -1));
  // At most one replacement per byte, and one more.
  const size_t places = call.text().size() / std::max<size_t>(from.size(), 1) + 1;
  RETURN_IF_ERROR(call.budget.Build(to.empty() ? 0 : places * to.size()));
  return Value::Text(ReplaceAll(call.text(), from.view(), to, count));
}

absl::StatusOr<Value> CallFind(const Call& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"sub"}));
  ASSIGN_OR_RETURN(const TrackedText wanted, RequiredText(call, 0, "sub"));
  const absl::string_view view = call.text().view();
  const bool from_right = call.name == "rfind" || call.name == "rindex";
  const size_t found =
      from_right ? FindLastText(view, wanted.view()) : FindText(view, wanted.view());
  if (found != absl::string_view::npos) {
    return Value::Int(static_cast<int64_t>(CountCharacters(view.substr(0, found))));
  }
  if (absl::EndsWith(call.name, "index")) return TypeError("substring not found");
  return Value::Int(-1);
}

absl::StatusOr<Value> CallCount(const Call& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"sub"}));
  ASSIGN_OR_RETURN(const TrackedText wanted, RequiredText(call, 0, "sub"));
  if (wanted.empty()) {
    return Value::Int(static_cast<int64_t>(CountCharacters(call.text().view())) + 1);
  }
  return Value::Int(
      static_cast<int64_t>(Split(call.text(), wanted.bytes(), -1, /*from_right=*/false).size()) -
      1);
}

absl::StatusOr<Value> CallJoin(const Call& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"iterable"}));
  const Value* iterable = call.arguments.Find(0, "iterable");
  if (iterable == nullptr) return TypeError("join() needs a list");
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(*iterable, call.budget));
  TrackedText out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].is(Value::kText)) return TypeError("join() takes strings");
    RETURN_IF_ERROR(call.budget.Build(items[i].text().size() + call.text().size()));
    if (i > 0) out.Append(call.text());
    out.Append(items[i].text());
  }
  return Value::Text(std::move(out));
}

absl::StatusOr<Value> CallSplitLines(const Call& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"keepends"}));
  const Value* keep = call.arguments.Find(0, "keepends");
  return TextList(SplitLines(call.text(), keep != nullptr && IsTrue(*keep)), call.budget);
}

absl::StatusOr<Value> CallRemoveAffix(const Call& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"affix"}));
  ASSIGN_OR_RETURN(const TrackedText affix, RequiredText(call, 0, "affix"));
  const TrackedText& text = call.text();
  if (call.name == "removeprefix") {
    return Value::Text(
        text.Part(absl::StartsWith(text.view(), affix.view()) ? affix.size() : 0, text.size()));
  }
  return Value::Text(
      text.Part(0, text.size() - (absl::EndsWith(text.view(), affix.view()) ? affix.size() : 0)));
}

absl::StatusOr<Value> CallIsDigit(const Call& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {}));
  const absl::string_view view = call.text().view();
  if (!std::all_of(view.begin(), view.end(), [](char c) { return (c & 0x80) == 0; })) {
    return absl::UnimplementedError("isdigit() beyond ASCII is not supported");
  }
  return Value::Bool(!view.empty() && std::all_of(view.begin(), view.end(),
                                                  [](char c) { return c >= '0' && c <= '9'; }));
}

absl::StatusOr<Value> CallGet(const Call& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"key", "default"}));
  const Value* key = call.arguments.Find(0, "key");
  const Value* otherwise = call.arguments.Find(1, "default");
  if (key == nullptr) return TypeError("get() needs a key");
  const Value* found =
      key->is(Value::kText) ? call.receiver.dict().Find(key->text().view()) : nullptr;
  if (found != nullptr) return *found;
  return otherwise != nullptr ? *otherwise : Value::None();
}

absl::StatusOr<Value> CallDictView(const Call& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {}));
  const auto& entries = call.receiver.dict().entries();
  RETURN_IF_ERROR(call.budget.Build(entries.size() * 3 * sizeof(Value)));
  List view;
  view.flavor = List::kView;
  for (const Dict::Entry& entry : entries) {
    const Value key = Value::Text(entry.key);
    if (call.name == "items") {
      List pair;
      pair.flavor = List::kTuple;
      pair.items = {key, entry.value};
      ASSIGN_OR_RETURN(Value item, Value::MakeList(std::move(pair)));
      view.items.push_back(std::move(item));
    } else {
      view.items.push_back(call.name == "keys" ? key : entry.value);
    }
  }
  return Value::MakeList(std::move(view));
}

absl::StatusOr<Value> CallListSearch(const Call& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"value"}));
  const Value* wanted = call.arguments.Find(0, "value");
  if (wanted == nullptr) return TypeError(absl::StrCat(call.name, "() needs a value"));
  const auto& items = call.receiver.list().items;
  int64_t count = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(const bool equal, AreEqual(items[i], *wanted, call.budget));
    if (equal && call.name == "index") return Value::Int(static_cast<int64_t>(i));
    count += equal ? 1 : 0;
  }
  if (call.name == "index") return TypeError("the value is not in the list");
  return Value::Int(count);
}

absl::StatusOr<Value> CallCycle(const Call& call) {
  const auto& choices = call.arguments.positional;
  if (choices.empty()) return TypeError("cycle() needs values");
  return choices[call.receiver.loop().index0 % choices.size()];
}

absl::StatusOr<Value> CallChanged(const Call& call) {
  const Loop& loop = call.receiver.loop();
  const auto& now = call.arguments.positional;
  const auto& before = loop.last_changed;
  for (const Value& value : now) {
    if (!value.is_plain()) return TypeError("changed() takes plain data");
  }
  bool same = loop.has_changed_before && now.size() == before.size();
  for (size_t i = 0; same && i < now.size(); ++i) {
    ASSIGN_OR_RETURN(same, AreEqual(now[i], before[i], call.budget));
  }
  loop.last_changed = now;
  loop.has_changed_before = true;
  return Value::Bool(!same);
}

using MethodFunction = absl::StatusOr<Value> (*)(const Call&);
using MethodTable = absl::flat_hash_map<std::string, MethodFunction>;

const MethodTable* MethodsOf(Value::Kind kind) {
  static const MethodTable& text = *new MethodTable{{"strip", CallStrip},
                                                    {"lstrip", CallStrip},
                                                    {"rstrip", CallStrip},
                                                    {"split", CallSplit},
                                                    {"rsplit", CallSplit},
                                                    {"startswith", CallStartsOrEndsWith},
                                                    {"endswith", CallStartsOrEndsWith},
                                                    {"upper", CallChangeCase},
                                                    {"lower", CallChangeCase},
                                                    {"title", CallChangeCase},
                                                    {"capitalize", CallChangeCase},
                                                    {"replace", CallReplace},
                                                    {"find", CallFind},
                                                    {"rfind", CallFind},
                                                    {"index", CallFind},
                                                    {"rindex", CallFind},
                                                    {"count", CallCount},
                                                    {"join", CallJoin},
                                                    {"splitlines", CallSplitLines},
                                                    {"removeprefix", CallRemoveAffix},
                                                    {"removesuffix", CallRemoveAffix},
                                                    {"isdigit", CallIsDigit}};
  static const MethodTable& dict = *new MethodTable{
      {"get", CallGet}, {"items", CallDictView}, {"keys", CallDictView}, {"values", CallDictView}};
  static const MethodTable& list =
      *new MethodTable{{"index", CallListSearch}, {"count", CallListSearch}};
  static const MethodTable& loop = *new MethodTable{{"cycle", CallCycle}, {"changed", CallChanged}};
  switch (kind) {
    case Value::kText:
      return &text;
    case Value::kDict:
      return &dict;
    case Value::kList:
      return &list;
    case Value::kLoop:
      return &loop;
    default:
      return nullptr;
  }
}

}  // namespace

bool IsMethod(absl::string_view name) {
  for (const Value::Kind kind : {Value::kText, Value::kDict, Value::kList, Value::kLoop}) {
    if (MethodsOf(kind)->contains(name)) return true;
  }
  return false;
}

std::optional<Value> BindMethod(absl::string_view name, const Value& receiver) {
  const MethodTable* methods = MethodsOf(receiver.kind());
  if (methods == nullptr || !methods->contains(name)) return std::nullopt;
  auto callable = std::make_shared<Callable>();
  callable->type = Callable::kMethod;
  callable->name = std::string(name);
  callable->receiver = receiver;
  return Value::Shared(std::shared_ptr<const Callable>(std::move(callable)));
}

absl::StatusOr<Value> CallMethod(absl::string_view name, const Value& receiver,
                                 const Arguments& arguments, Budget& budget) {
  const MethodTable* methods = MethodsOf(receiver.kind());
  const auto method = methods->find(name);
  if (receiver.is(Value::kText)) {
    // The work grows with the text, and most results are as long as it.
    RETURN_IF_ERROR(budget.Read(receiver.text().size()));
    RETURN_IF_ERROR(budget.Build(receiver.text().size()));
  }
  return method->second(Call{name, receiver, arguments, budget});
}

}  // namespace tandem::jinja
