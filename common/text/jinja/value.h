// Value is what Jinja expressions compute with: Python's data model, as far as chat templates see
// it. Values are immutable (templates run without mutating methods), except namespaces. Containers
// hold plain data only and are bounded in depth, so that no cycle and no deep recursion can arise.
// Cheap to copy: everything large is shared. Thread-compatible.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/jinja/tracked_text.h"

namespace tandem::jinja {

inline constexpr int kMaxContainerDepth = 100;

class Value;
class Dict;
struct List;
struct Namespace;
struct Loop;
struct Callable;

struct Undefined {
  std::string what;  // for the error when it is used: "'x' is undefined"
};

class Value {
 public:
  enum Kind {
    kUndefined,
    kNone,
    kBool,
    kInt,
    kFloat,
    kText,
    kList,
    kDict,
    kNamespace,
    kLoop,
    kCallable
  };

  Value() = default;  // undefined
  static Value MakeUndefined(std::string what) { return Value(Undefined{std::move(what)}); }
  static Value None() { return Value(std::monostate()); }
  static Value Bool(bool b) { return Value(b); }
  static Value Int(int64_t i) { return Value(i); }
  static Value Float(double d) { return Value(d); }
  static Value Text(TrackedText text) {
    return Value(std::make_shared<const TrackedText>(std::move(text)));
  }
  static Value Trusted(std::string text) { return Text(TrackedText(std::move(text), true)); }
  static Value Shared(std::shared_ptr<Namespace> ns) { return Value(std::move(ns)); }
  static Value Shared(std::shared_ptr<const Loop> loop) { return Value(std::move(loop)); }
  static Value Shared(std::shared_ptr<const Callable> callable) {
    return Value(std::move(callable));
  }
  // Errors when an item is no plain data, or nested too deeply.
  static absl::StatusOr<Value> MakeList(List list);
  static absl::StatusOr<Value> MakeDict(Dict dict);

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is(Kind k) const { return kind() == k; }
  // Data that may live in containers: neither namespace nor loop nor callable.
  bool is_plain() const { return kind() < kNamespace; }
  int depth() const;  // 0 for scalars

  // REQUIRES: the kind that each is named after.
  const std::string& undefined_what() const { return std::get<Undefined>(data_).what; }
  bool bool_value() const { return std::get<bool>(data_); }
  int64_t int_value() const { return std::get<int64_t>(data_); }
  double float_value() const { return std::get<double>(data_); }
  const TrackedText& text() const { return *std::get<kText>(data_); }
  const List& list() const { return *std::get<kList>(data_); }
  const Dict& dict() const { return *std::get<kDict>(data_); }
  Namespace& ns() const { return *std::get<kNamespace>(data_); }
  const Loop& loop() const { return *std::get<kLoop>(data_); }
  const Callable& callable() const { return *std::get<kCallable>(data_); }

 private:
  // In the order of Kind.
  using Data = std::variant<Undefined, std::monostate, bool, int64_t, double,
                            std::shared_ptr<const TrackedText>, std::shared_ptr<const List>,
                            std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
                            std::shared_ptr<const Loop>, std::shared_ptr<const Callable>>;
  template <class T>
  explicit Value(T data) : data_(std::move(data)) {}

  Data data_;
};

// What a short text takes as a value of its own, with its control block and what the allocator
// adds, and while a list of such values is made.
inline constexpr size_t kTextValueBytes = 256;

struct List {
  enum Flavor { kList, kTuple, kView, kGenerator };  // a generator has no length and is always true
  std::vector<Value> items;
  Flavor flavor = kList;
  int depth = 1;
};

// Keys are text, in insertion order; comparing keys ignores their origin.
class Dict {
 public:
  struct Entry {
    TrackedText key;
    Value value;
  };

  void Set(TrackedText key, Value value);
  const Value* Find(absl::string_view key) const;
  const std::vector<Entry>& entries() const { return entries_; }
  int depth() const { return depth_; }

 private:
  std::vector<Entry> entries_;
  absl::flat_hash_map<std::string, size_t> positions_;
  int depth_ = 1;
};

struct Namespace {
  absl::flat_hash_map<std::string, Value> attributes;
};

// The state of a running for loop, and what `loop` shows of it.
struct Loop {
  const std::vector<Value>* items = nullptr;  // owned by the running loop
  size_t index0 = 0;
  mutable std::vector<Value> last_changed;  // of loop.changed()
  mutable bool has_changed_before = false;
};

struct Statement;  // ast.h
class Scope;       // scope.h

struct Callable {
  enum Type { kMacro, kFunction, kMethod };
  Type type;
  std::string name;
  Value receiver;                    // kMethod
  const Statement* macro = nullptr;  // kMacro
  Scope* closure = nullptr;          // kMacro: outlives every use, because scopes nest
};

// For error messages: "str", "int", "list" ...
absl::string_view TypeName(const Value& value);

}  // namespace tandem::jinja
