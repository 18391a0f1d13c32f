#include "common/text/special_tokens.h"

namespace tandem {
namespace {

uint64_t ChildKey(uint32_t node, char byte) {
  return uint64_t{node} * 256 + static_cast<uint8_t>(byte);
}

}  // namespace

std::optional<uint32_t> SpecialTokens::Child(uint32_t node, char byte) const {
  const auto found = children_.find(ChildKey(node, byte));
  if (found == children_.end()) return std::nullopt;
  return found->second;
}

void SpecialTokens::Add(absl::string_view text, TokenId id, bool control) {
  if (text.empty()) return;
  uint32_t node = 0;
  for (const char byte : text) {
    const auto [child, added] =
        children_.emplace(ChildKey(node, byte), static_cast<uint32_t>(nodes_.size()));
    node = child->second;
    if (added) nodes_.emplace_back();
  }
  nodes_[node] = Node{id, control};
}

std::optional<TokenId> SpecialTokens::Find(absl::string_view text) const {
  uint32_t node = 0;
  for (const char byte : text) {
    const std::optional<uint32_t> child = Child(node, byte);
    if (!child) return std::nullopt;
    node = *child;
  }
  if (nodes_[node].id < 0) return std::nullopt;
  return nodes_[node].id;
}

std::optional<SpecialTokens::Match> SpecialTokens::FindNext(absl::string_view text, size_t from,
                                                            size_t to, bool trusted) const {
  for (size_t begin = from; begin < to; ++begin) {
    std::optional<Match> longest;
    uint32_t node = 0;
    for (size_t end = begin; end < text.size();) {
      const std::optional<uint32_t> child = Child(node, text[end]);
      if (!child) break;
      node = *child;
      ++end;
      const bool allowed = !nodes_[node].control || (trusted && end <= to);
      if (nodes_[node].id >= 0 && allowed) longest = Match{begin, end, nodes_[node].id};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

}  // namespace tandem
