// LandingTable knows which memory a peer may write: for each open grant, logical blocks to physical
// ones, and the state of every (layer, block) of it, each of which is received at most once.
// Commits wait here until their blocks are in.
//
// A pure state machine on ids and memory: it moves no bytes, only checks them. Used by the transfer
// engine alone.
//
// A cell, one (layer, block):  kEmpty -> kPosted -> kGood | kBad;  kEmpty -> kBad when its segment
// cannot be taken. A landing is erased when it is closed and nothing of it is posted: only then may
// its blocks be freed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "common/engine/transfer_port.h"
#include "common/protocol/peer_messages.h"
#include "common/transfer/kv_memory.h"
#include "common/transfer/kv_transport.h"
#include "common/transfer/transfer_counters.h"

namespace tandem {

class LandingTable {
 public:
  // Events (ChunkVerified, ChunkRejected, Quiesced) are appended to `events`, counts go to
  // `counters`; both outlive the table.
  LandingTable(KvMemory memory, std::vector<TransferEvent>* events, TransferCounters* counters);

  // REQUIRES: the grant was never opened before; its blocks exist.
  void Open(const OpenLanding& landing);

  // Refuses all further segments of the grant. Quiesced follows, at once when nothing is posted (or
  // nothing is known).
  void Close(GrantId grant);

  // Refuses all further segments of the peer's grants; they stay until closed.
  void RefusePeer(Incarnation peer);

  // Where this segment of `length` bytes goes, or no value: refused and counted.
  std::optional<Placement> Place(Incarnation peer, const SegmentHeader& header, size_t length);

  // A placed segment is complete (`ok`) or ended. Its checksums decide whether its blocks are good:
  // those that the transport saw (`block_crc32c`), or those of the memory where it saw none.
  void Received(SegmentToken token, bool ok, absl::Span<const uint32_t> block_crc32c);

  // Takes a peer's commit: held, verified or rejected. Dropped and counted when its grant is not
  // open for the peer.
  void HandleCommit(Incarnation peer, Commit commit);

  // Segments that the transport may still write.
  size_t num_posted() const { return posted_.size(); }

 private:
  enum class Cell : uint8_t { kEmpty, kPosted, kGood, kBad };

  struct Landing {
    Incarnation peer;
    Nonce nonce;  // part of its blocks' checksums
    uint32_t first_block = 0;
    std::vector<BlockId> blocks;
    std::vector<Cell> cells;  // [block][layer]
    size_t posted_segments = 0;
    bool refusing = false;
    bool closed = false;
    std::vector<Commit> held;
    std::vector<bool> committed;  // blocks that a commit has named
  };

  struct Posted {
    GrantId grant;
    SegmentId segment;
    std::vector<uint32_t> block_crc32c;
    absl::Span<std::byte> memory;
  };

  using Landings = absl::flat_hash_map<GrantId, Landing>;

  void Forget(Landings::iterator landing);
  Cell& CellAt(Landing& landing, uint32_t layer, uint32_t block) const;
  bool Fits(const Landing& landing, const SegmentId& segment) const;
  bool SideBySide(const Landing& landing, const SegmentId& segment) const;
  void MarkBad(Landing& landing, const SegmentId& segment);
  bool Intact(const Nonce& nonce, const Posted& posted, uint32_t block,
              absl::Span<const uint32_t> block_crc32c) const;
  std::string FindFault(const Landing& landing, const Commit& commit) const;
  std::vector<SegmentId> BadSegments(Landing& landing, const Commit& commit) const;
  bool AllArrived(Landing& landing, const Commit& commit) const;
  void SettleCommits(GrantId grant, Landing& landing);
  void Reject(const Commit& commit, std::vector<SegmentId> bad, std::string reason);
  std::optional<Placement> Refuse(SegmentRefusal why);

  const KvMemory memory_;
  std::vector<TransferEvent>* const events_;
  TransferCounters* const counters_;
  Landings landings_;
  absl::flat_hash_map<SegmentToken, Posted> posted_;
  uint64_t last_token_ = 0;
};

}  // namespace tandem
