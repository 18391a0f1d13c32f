// Scope holds the variables of one block. Scopes form a chain: a name is looked up from the inside
// out, and set in the innermost. Inner scopes die before outer ones.
#pragma once

#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "common/text/jinja/value.h"

namespace tandem::jinja {

class Scope {
 public:
  explicit Scope(Scope* parent) : parent_(parent) {}
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  void Set(const std::string& name, Value value) { variables_[name] = std::move(value); }

  // Null when no scope has it.
  const Value* Find(absl::string_view name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent_) {
      const auto found = scope->variables_.find(name);
      if (found != scope->variables_.end()) return &found->second;
    }
    return nullptr;
  }

 private:
  Scope* parent_;
  absl::flat_hash_map<std::string, Value> variables_;
};

}  // namespace tandem::jinja
