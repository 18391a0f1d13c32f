#include "common/text/jinja/value.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tandem::jinja {
namespace {

absl::Status CheckContainer(int depth) {
  if (depth <= kMaxContainerDepth) return absl::OkStatus();
  return absl::ResourceExhaustedError("data is nested too deeply");
}

absl::Status CheckItem(const Value& value) {
  if (value.is_plain()) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat("a ", TypeName(value), " inside a list or dict is not supported"));
}

}  // namespace

absl::StatusOr<Value> Value::MakeList(List list) {
  for (const Value& item : list.items) {
    if (absl::Status status = CheckItem(item); !status.ok()) return status;
    list.depth = std::max(list.depth, item.depth() + 1);
  }
  if (absl::Status status = CheckContainer(list.depth); !status.ok()) return status;
  return Value(std::make_shared<const List>(std::move(list)));
}

absl::StatusOr<Value> Value::MakeDict(Dict dict) {
  for (const Dict::Entry& entry : dict.entries()) {
    if (absl::Status status = CheckItem(entry.value); !status.ok()) return status;
  }
  if (absl::Status status = CheckContainer(dict.depth()); !status.ok()) return status;
  return Value(std::make_shared<const Dict>(std::move(dict)));
}

int Value::depth() const {
  if (is(kList)) return list().depth;
  if (is(kDict)) return dict().depth();
  return 0;
}

void Dict::Set(TrackedText key, Value value) {
  depth_ = std::max(depth_, value.depth() + 1);
  const auto [position, added] = positions_.emplace(key.bytes(), entries_.size());
  if (added) {
    entries_.push_back(Entry{std::move(key), std::move(value)});
  } else {
    entries_[position->second].value = std::move(value);
  }
}

const Value* Dict::Find(absl::string_view key) const {
  const auto found = positions_.find(key);
  return found == positions_.end() ? nullptr : &entries_[found->second].value;
}

absl::string_view TypeName(const Value& value) {
  switch (value.kind()) {
    case Value::kUndefined:
      return "undefined value";
    case Value::kNone:
      return "None";
    case Value::kBool:
      return "bool";
    case Value::kInt:
      return "int";
    case Value::kFloat:
      return "float";
    case Value::kText:
      return "string";
    case Value::kList:
      return value.list().flavor == List::kTuple ? "tuple" : "list";
    case Value::kDict:
      return "dict";
    case Value::kNamespace:
      return "namespace";
    case Value::kLoop:
      return "loop";
    case Value::kCallable:
      return "function";
  }
  return "value";
}

}  // namespace tandem::jinja
