// The frames that two LocalTransports exchange, over FrameSocket. All are of one machine: numbers
// lie as the processor has them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/string_view.h"
#include "common/protocol/peer_wire.h"

namespace tandem::local_frames {

enum Kind : uint8_t {
  kGreeting = 1,
  kControl = 2,
  kSegment = 3,
  kSegmentEnd = 4,
  kMemory = 5,
};

// Another number whenever frames change: "TDL2". The first version had none.
inline constexpr uint64_t kVersion = 0x324c4454;

// Where most of the sender's segments will lie. A kMemory frame is that of the side that accepts.
struct MemoryClaim {
  int64_t fd;  // its file, from its start; -1: none
  uint64_t base;
  uint64_t size;
};
// What a kGreeting frame begins with; the engine's greeting follows.
struct GreetingHead {
  uint64_t version;
  MemoryClaim memory;
};

// What a kSegment frame begins with; the engine's header follows.
struct Announcement {
  uint64_t number;
  uint64_t source;
  uint64_t length;
};
// A kSegmentEnd frame is one or more of these.
struct SegmentEnd {
  uint64_t number;
  uint64_t ok;
};

inline constexpr size_t kMaxBytes = std::max(kMaxPeerMessageBytes, kMaxSegmentHeaderBytes) + 64;

// False: the bytes are too short for one.
template <class Head>
bool ReadHead(absl::string_view bytes, Head* head) {
  if (bytes.size() < sizeof(Head)) return false;
  std::memcpy(head, bytes.data(), sizeof(Head));
  return true;
}

template <class Head>
std::string HeadBytes(const Head& head) {
  return std::string(reinterpret_cast<const char*>(&head), sizeof(head));
}

}  // namespace tandem::local_frames
