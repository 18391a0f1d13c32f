// Length, iteration, items, attributes and slices.

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/text/jinja/builtins.h"
#include "common/text/jinja/operators.h"
#include "common/text/jinja/python_text.h"

namespace tandem::jinja {
namespace {

Value NoAttribute(const Value& target, absl::string_view name) {
  return Value::MakeUndefined(
      absl::StrCat("a ", TypeName(target), " has no attribute '", name, "'"));
}

Value LoopAttribute(const Loop& loop, absl::string_view name) {
  const int64_t index0 = static_cast<int64_t>(loop.index0);
  const int64_t length = static_cast<int64_t>(loop.items->size());
  if (name == "index") return Value::Int(index0 + 1);
  if (name == "index0") return Value::Int(index0);
  if (name == "revindex") return Value::Int(length - index0);
  if (name == "revindex0") return Value::Int(length - index0 - 1);
  if (name == "first") return Value::Bool(index0 == 0);
  if (name == "last") return Value::Bool(index0 + 1 == length);
  if (name == "length") return Value::Int(length);
  if (name == "depth") return Value::Int(1);  // it grows in recursive loops only
  if (name == "depth0") return Value::Int(0);
  if (name == "previtem") {
    return index0 > 0 ? (*loop.items)[loop.index0 - 1]
                      : Value::MakeUndefined("there is no previous item");
  }
  if (name == "nextitem") {
    return index0 + 1 < length ? (*loop.items)[loop.index0 + 1]
                               : Value::MakeUndefined("there is no next item");
  }
  return Value::MakeUndefined(absl::StrCat("loop has no attribute '", name, "'"));
}

// The element at `index`, negative from the end.
template <class Size>
std::optional<size_t> Position(int64_t index, Size size) {
  const int64_t length = static_cast<int64_t>(size);
  if (index < -length || index >= length) return std::nullopt;
  return static_cast<size_t>(index < 0 ? index + length : index);
}

// The positions that a slice selects, as Python counts them.
absl::StatusOr<std::vector<size_t>> SlicePositions(const SliceBounds& bounds, size_t size) {
  const int64_t length = static_cast<int64_t>(size);
  const int64_t step = bounds.step.value_or(1);
  if (step == 0) return TypeError("a slice's step is zero");
  const int64_t lowest = step > 0 ? 0 : -1, highest = step > 0 ? length : length - 1;
  const auto clamp = [&](std::optional<int64_t> bound, int64_t fallback) {
    if (!bound) return fallback;
    const int64_t from_start = *bound < 0 ? std::max(*bound, -length - 1) + length : *bound;
    return std::clamp(from_start, lowest, highest);
  };
  const int64_t start = clamp(bounds.start, step > 0 ? lowest : highest);
  const int64_t stop = clamp(bounds.stop, step > 0 ? highest : lowest);
  std::vector<size_t> positions;
  int64_t position = start;
  while (step > 0 ? position < stop : position > stop) {
    positions.push_back(static_cast<size_t>(position));
    if (__builtin_add_overflow(position, step, &position)) break;
  }
  return positions;
}

}  // namespace

absl::StatusOr<int64_t> Length(const Value& value) {
  switch (value.kind()) {
    case Value::kUndefined:
      return 0;
    case Value::kText:
      return static_cast<int64_t>(CountCharacters(value.text().view()));
    case Value::kDict:
      return static_cast<int64_t>(value.dict().entries().size());
    case Value::kList:
      if (value.list().flavor != List::kGenerator) {
        return static_cast<int64_t>(value.list().items.size());
      }
      return TypeError("an iterator has no length; use the filter list");
    default:
      return TypeError(absl::StrCat("a ", TypeName(value), " has no length"));
  }
}

absl::StatusOr<std::vector<Value>> Iterate(const Value& value, Budget& budget) {
  std::vector<Value> items;
  switch (value.kind()) {
    case Value::kUndefined:
      return items;
    case Value::kList:
      RETURN_IF_ERROR(budget.Build(value.list().items.size() * sizeof(Value)));
      return value.list().items;
    case Value::kDict:
      RETURN_IF_ERROR(budget.Build(value.dict().entries().size() * sizeof(Value)));
      for (const Dict::Entry& entry : value.dict().entries())
        items.push_back(Value::Text(entry.key));
      return items;
    case Value::kText:
      RETURN_IF_ERROR(budget.Build(CountCharacters(value.text().view()) * kTextValueBytes));
      for (TrackedText& c : Characters(value.text())) items.push_back(Value::Text(std::move(c)));
      return items;
    default:
      return TypeError(absl::StrCat("a ", TypeName(value), " is not iterable"));
  }
}

absl::StatusOr<Value> GetItem(const Value& target, const Value& index, Budget& budget) {
  if (target.is(Value::kUndefined)) return UndefinedError(target);
  const auto integer = AsInteger(index);
  if (target.is(Value::kDict) && index.is(Value::kText)) {
    if (const Value* found = target.dict().Find(index.text().view())) return *found;
    if (const auto method = BindMethod(index.text().view(), target)) return *method;
  }
  if (target.is(Value::kList) && integer && target.list().flavor <= List::kTuple) {
    if (const auto i = Position(*integer, target.list().items.size())) {
      return target.list().items[*i];
    }
  }
  if (target.is(Value::kText) && integer) {
    const TrackedText& text = target.text();
    RETURN_IF_ERROR(budget.Read(text.size()));
    if (const auto i = Position(*integer, CountCharacters(text.view()))) {
      const size_t begin = ByteOffset(text.view(), *i);
      return Value::Text(text.Part(begin, begin + ByteOffset(text.view().substr(begin), 1)));
    }
  }
  if (index.is(Value::kText) && !target.is(Value::kDict)) {
    return GetAttribute(target, index.text().view());
  }
  return Value::MakeUndefined(absl::StrCat("a ", TypeName(target), " has no such item"));
}

absl::StatusOr<Value> GetAttribute(const Value& target, absl::string_view name) {
  if (target.is(Value::kUndefined)) return UndefinedError(target);
  if (target.is(Value::kLoop)) {
    if (const auto method = BindMethod(name, target)) return *method;
    return LoopAttribute(target.loop(), name);
  }
  if (target.is(Value::kNamespace)) {
    const auto found = target.ns().attributes.find(name);
    return found == target.ns().attributes.end() ? NoAttribute(target, name) : found->second;
  }
  if (const auto method = BindMethod(name, target)) return *method;
  if (target.is(Value::kDict)) {
    // Python would give these methods, not the item of the same name.
    for (const absl::string_view shadow :
         {"clear", "copy", "fromkeys", "pop", "popitem", "setdefault", "update"}) {
      if (name == shadow) {
        return absl::UnimplementedError(
            absl::StrCat("the dict method ", name, " is not supported"));
      }
    }
    if (const Value* found = target.dict().Find(name)) return *found;
  }
  return NoAttribute(target, name);
}

absl::StatusOr<Value> GetSlice(const Value& target, const SliceBounds& bounds, Budget& budget) {
  if (target.is(Value::kList) && target.list().flavor <= List::kTuple) {
    ASSIGN_OR_RETURN(const auto positions, SlicePositions(bounds, target.list().items.size()));
    RETURN_IF_ERROR(budget.Build(positions.size() * sizeof(Value)));
    List list;
    list.flavor = target.list().flavor;
    for (const size_t position : positions) list.items.push_back(target.list().items[position]);
    return Value::MakeList(std::move(list));
  }
  if (target.is(Value::kText)) {
    const TrackedText& text = target.text();
    RETURN_IF_ERROR(budget.Build(text.size()));
    std::vector<size_t> begins;  // of each character, and the end
    for (size_t i = 0; i <= text.size(); ++i) {
      const bool continues =
          i < text.size() && (static_cast<unsigned char>(text.bytes()[i]) & 0xC0) == 0x80;
      if (!continues) begins.push_back(i);
    }
    ASSIGN_OR_RETURN(const auto positions, SlicePositions(bounds, begins.size() - 1));
    if (!positions.empty() && bounds.step.value_or(1) == 1) {
      return Value::Text(text.Part(begins[positions.front()], begins[positions.back() + 1]));
    }
    TrackedText part;
    for (const size_t position : positions) {
      part.AppendPart(text, begins[position], begins[position + 1]);
    }
    return Value::Text(std::move(part));
  }
  if (target.is(Value::kUndefined)) return UndefinedError(target);
  return Value::MakeUndefined(absl::StrCat("a ", TypeName(target), " cannot be sliced"));
}

}  // namespace tandem::jinja
