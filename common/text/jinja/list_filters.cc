// Filters over lists, dicts and other iterables.

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/text/jinja/filters.h"
#include "common/text/jinja/operators.h"
#include "common/text/jinja/python_text.h"

namespace tandem::jinja {
namespace {

absl::StatusOr<Value> MakeSequence(std::vector<Value> items, List::Flavor flavor) {
  List list;
  list.items = std::move(items);
  list.flavor = flavor;
  return Value::MakeList(std::move(list));
}

// "a.b.0": items or attributes, one after the other.
absl::StatusOr<Value> AttributePath(Value value, const Value& path, Budget& budget) {
  if (const auto index = AsInteger(path)) return GetItem(value, path, budget);
  if (!path.is(Value::kText)) return TypeError("an attribute is named by a string");
  for (const absl::string_view part : absl::StrSplit(path.text().view(), '.')) {
    int64_t index = 0;
    const Value key =
        absl::SimpleAtoi(part, &index) ? Value::Int(index) : Value::Trusted(std::string(part));
    ASSIGN_OR_RETURN(value, GetItem(value, key, budget));
  }
  return value;
}

Arguments WithoutFirst(const Arguments& arguments, size_t count) {
  Arguments rest;
  const size_t skip = std::min(count, arguments.positional.size());
  rest.positional.assign(arguments.positional.begin() + static_cast<ptrdiff_t>(skip),
                         arguments.positional.end());
  return rest;
}

absl::StatusOr<Value> Join(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"d", "attribute"}));
  const Value* separator_value = call.arguments.Find(0, "d");
  const Value* attribute = call.arguments.Find(1, "attribute");
  TrackedText separator, out;
  if (separator_value != nullptr) {
    ASSIGN_OR_RETURN(separator, ToText(*separator_value, call.budget));
  }
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(call.input, call.budget));
  for (size_t i = 0; i < items.size(); ++i) {
    Value item = items[i];
    if (attribute != nullptr && !attribute->is(Value::kNone)) {
      ASSIGN_OR_RETURN(item, AttributePath(std::move(item), *attribute, call.budget));
    }
    ASSIGN_OR_RETURN(const TrackedText text, ToText(item, call.budget));
    RETURN_IF_ERROR(call.budget.Build(text.size() + separator.size()));
    if (i > 0) out.Append(separator);
    out.Append(text);
  }
  return Value::Text(std::move(out));
}

absl::StatusOr<Value> FirstOrLast(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {}));
  if (call.name == "last" && call.input.is(Value::kList) &&
      call.input.list().flavor == List::kGenerator) {
    return TypeError("an iterator cannot be reversed; use the filter list");
  }
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(call.input, call.budget));
  if (items.empty()) return Value::MakeUndefined(absl::StrCat("there is no ", call.name, " item"));
  return call.name == "first" ? items.front() : items.back();
}

absl::StatusOr<Value> ToList(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {}));
  ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(call.input, call.budget));
  return MakeSequence(std::move(items), List::kList);
}

absl::StatusOr<Value> Items(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {}));
  if (call.input.is(Value::kUndefined)) return MakeSequence({}, List::kGenerator);
  if (!call.input.is(Value::kDict)) return TypeError("items takes a mapping");
  ASSIGN_OR_RETURN(const Value view, CallMethod("items", call.input, {}, call.budget));
  return MakeSequence(view.list().items, List::kGenerator);
}

absl::StatusOr<Value> Reverse(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {}));
  ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(call.input, call.budget));
  std::reverse(items.begin(), items.end());
  if (!call.input.is(Value::kText)) return MakeSequence(std::move(items), List::kGenerator);
  TrackedText text;
  for (const Value& item : items) text.Append(item.text());
  return Value::Text(std::move(text));
}

absl::StatusOr<Value> Map(const FilterCall& call) {
  const Value* attribute = call.arguments.Find(SIZE_MAX, "attribute");
  const Value* otherwise = call.arguments.Find(SIZE_MAX, "default");
  const auto& positional = call.arguments.positional;
  const size_t known = (attribute != nullptr ? 1 : 0) + (otherwise != nullptr ? 1 : 0);
  if (call.arguments.named.size() != known || positional.empty() == (attribute == nullptr)) {
    return TypeError("map takes the name of a filter and its arguments, or an attribute");
  }
  ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(call.input, call.budget));
  for (Value& item : items) {
    RETURN_IF_ERROR(call.budget.Step());
    if (attribute != nullptr) {
      ASSIGN_OR_RETURN(item, AttributePath(std::move(item), *attribute, call.budget));
      if (item.is(Value::kUndefined) && otherwise != nullptr) item = *otherwise;
    } else {
      const Value input = std::move(item);
      ASSIGN_OR_RETURN(item, ApplyFilter(positional[0].text().view(), input,
                                         WithoutFirst(call.arguments, 1), call.budget));
    }
  }
  return MakeSequence(std::move(items), List::kGenerator);
}

// select, reject, selectattr and rejectattr.
absl::StatusOr<Value> Select(const FilterCall& call) {
  const bool by_attribute = call.name == "selectattr" || call.name == "rejectattr";
  const bool keep = call.name == "select" || call.name == "selectattr";
  const auto& positional = call.arguments.positional;
  const size_t test = by_attribute ? 1 : 0;
  if (!call.arguments.named.empty() || positional.size() < test) {
    return TypeError(absl::StrCat("wrong arguments for ", call.name));
  }
  const Arguments arguments = WithoutFirst(call.arguments, test + 1);
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(call.input, call.budget));
  std::vector<Value> selected;
  for (const Value& item : items) {
    RETURN_IF_ERROR(call.budget.Step());
    Value tested = item;
    if (by_attribute) {
      ASSIGN_OR_RETURN(tested, AttributePath(std::move(tested), positional[0], call.budget));
    }
    bool passes = IsTrue(tested);
    if (positional.size() > test) {
      ASSIGN_OR_RETURN(passes,
                       ApplyTest(positional[test].text().view(), tested, arguments, call.budget));
    }
    if (passes == keep) selected.push_back(item);
  }
  return MakeSequence(std::move(selected), List::kGenerator);
}

// What sorting and uniqueness go by: text (without case unless asked for) or numbers, not mixed.
struct SortKey {
  bool is_text;
  std::string text;
  double number;

  friend bool operator<(const SortKey& a, const SortKey& b) {
    return a.is_text ? a.text < b.text : a.number < b.number;
  }
};

absl::StatusOr<SortKey> MakeSortKey(const Value& value, bool with_case) {
  if (value.is(Value::kText)) {
    const TrackedText text =
        with_case ? value.text() : ChangeCase(value.text(), LetterCase::kLower);
    return SortKey{true, text.bytes(), 0};
  }
  const auto integer = AsInteger(value);
  const bool is_number = value.is(Value::kFloat) && !std::isnan(value.float_value());
  if (!integer && !is_number)
    return TypeError(absl::StrCat("a ", TypeName(value), " cannot be ordered"));
  return SortKey{false, "", integer ? static_cast<double>(*integer) : value.float_value()};
}

struct KeyedItem {
  SortKey key;
  Value item;
};

absl::StatusOr<std::vector<KeyedItem>> WithKeys(const std::vector<Value>& items,
                                                const Value* attribute, const Value* with_case,
                                                Budget& budget) {
  std::vector<KeyedItem> keyed;
  for (const Value& item : items) {
    RETURN_IF_ERROR(budget.Step());
    Value value = item;
    if (attribute != nullptr && !attribute->is(Value::kNone)) {
      ASSIGN_OR_RETURN(value, AttributePath(std::move(value), *attribute, budget));
    }
    if (value.is(Value::kText)) RETURN_IF_ERROR(budget.Build(value.text().size()));
    ASSIGN_OR_RETURN(SortKey key, MakeSortKey(value, with_case != nullptr && IsTrue(*with_case)));
    if (!keyed.empty() && keyed[0].key.is_text != key.is_text)
      return TypeError("text and numbers cannot be ordered");
    keyed.push_back(KeyedItem{std::move(key), item});
  }
  return keyed;
}

void SortItems(std::vector<KeyedItem>& keyed, bool reverse) {
  std::stable_sort(keyed.begin(), keyed.end(), [reverse](const KeyedItem& a, const KeyedItem& b) {
    return reverse ? b.key < a.key : a.key < b.key;
  });
}

std::vector<Value> WithoutKeys(std::vector<KeyedItem> keyed) {
  std::vector<Value> items;
  for (KeyedItem& entry : keyed) items.push_back(std::move(entry.item));
  return items;
}

absl::StatusOr<Value> Sort(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"reverse", "case_sensitive", "attribute"}));
  const Value* reverse = call.arguments.Find(0, "reverse");
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(call.input, call.budget));
  ASSIGN_OR_RETURN(std::vector<KeyedItem> keyed,
                   WithKeys(items, call.arguments.Find(2, "attribute"),
                            call.arguments.Find(1, "case_sensitive"), call.budget));
  SortItems(keyed, reverse != nullptr && IsTrue(*reverse));
  return MakeSequence(WithoutKeys(std::move(keyed)), List::kList);
}

absl::StatusOr<Value> DictSort(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"case_sensitive", "by", "reverse"}));
  const Value* by = call.arguments.Find(1, "by");
  const Value* reverse = call.arguments.Find(2, "reverse");
  if (!call.input.is(Value::kDict)) return TypeError("dictsort takes a mapping");
  ASSIGN_OR_RETURN(const Value pairs, CallMethod("items", call.input, {}, call.budget));
  const bool by_value = by != nullptr && by->is(Value::kText) && by->text().bytes() == "value";
  const Value position = Value::Int(by_value ? 1 : 0);
  ASSIGN_OR_RETURN(std::vector<KeyedItem> keyed,
                   WithKeys(pairs.list().items, &position, call.arguments.Find(0, "case_sensitive"),
                            call.budget));
  SortItems(keyed, reverse != nullptr && IsTrue(*reverse));
  return MakeSequence(WithoutKeys(std::move(keyed)), List::kList);
}

absl::StatusOr<Value> Unique(const FilterCall& call) {
  RETURN_IF_ERROR(call.arguments.Check(call.name, {"case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const std::vector<Value> items, Iterate(call.input, call.budget));
  ASSIGN_OR_RETURN(std::vector<KeyedItem> keyed,
                   WithKeys(items, call.arguments.Find(1, "attribute"),
                            call.arguments.Find(0, "case_sensitive"), call.budget));
  std::vector<size_t> order(keyed.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return keyed[a].key < keyed[b].key; });
  std::vector<bool> repeats(keyed.size(), false);
  for (size_t i = 1; i < order.size(); ++i) {
    repeats[order[i]] = !(keyed[order[i - 1]].key < keyed[order[i]].key);
  }
  std::vector<Value> kept;
  for (size_t i = 0; i < keyed.size(); ++i) {
    if (!repeats[i]) kept.push_back(keyed[i].item);
  }
  return MakeSequence(std::move(kept), List::kGenerator);
}

}  // namespace

const absl::flat_hash_map<std::string, FilterFunction>& ListFilters() {
  static const auto& filters = *new absl::flat_hash_map<std::string, FilterFunction>{
      {"join", Join},         {"first", FirstOrLast}, {"last", FirstOrLast},  {"list", ToList},
      {"items", Items},       {"reverse", Reverse},   {"map", Map},           {"select", Select},
      {"reject", Select},     {"selectattr", Select}, {"rejectattr", Select}, {"sort", Sort},
      {"dictsort", DictSort}, {"unique", Unique}};
  return filters;
}

}  // namespace tandem::jinja
