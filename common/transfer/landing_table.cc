#include "common/transfer/landing_table.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/protection.h"
#include "common/transfer/block_checksum.h"

namespace tandem {

LandingTable::LandingTable(KvMemory memory, std::vector<TransferEvent>* events,
                           TransferCounters* counters)
    : memory_(std::move(memory)), events_(events), counters_(counters) {}

void LandingTable::Open(const OpenLanding& landing) {
  for (const BlockId block : landing.blocks) TANDEM_CHECK(block.value() < memory_.num_blocks);
  Landing entry;
  entry.peer = landing.peer;
  entry.nonce = landing.nonce;
  entry.first_block = landing.first_block;
  entry.blocks = landing.blocks;
  entry.cells.assign(landing.blocks.size() * memory_.num_layers, Cell::kEmpty);
  entry.committed.assign(landing.blocks.size(), false);
  const bool inserted = landings_.emplace(landing.grant, std::move(entry)).second;
  TANDEM_CHECK_MSG(inserted, "a grant is opened once");
}

void LandingTable::Close(GrantId grant) {
  const auto it = landings_.find(grant);
  if (it != landings_.end() && it->second.posted_segments > 0) {
    it->second.closed = it->second.refusing = true;
    it->second.held.clear();
    return;
  }
  if (it != landings_.end()) Forget(it);
  events_->emplace_back(Quiesced{grant});
}

void LandingTable::RefusePeer(Incarnation peer) {
  for (auto& [grant, landing] : landings_) {
    if (landing.peer == peer) landing.refusing = true;
  }
}

std::optional<Placement> LandingTable::Place(Incarnation peer, const SegmentHeader& header,
                                             size_t length) {
  const auto it = landings_.find(header.grant);
  if (it == landings_.end()) return Refuse(SegmentRefusal::kUnknownGrant);
  Landing& landing = it->second;
  const SegmentId& segment = header.segment;
  if (Enabled(Protection::kGenerationCheck)) {
    if (landing.refusing) return Refuse(SegmentRefusal::kUnknownGrant);
    if (landing.peer != peer) return Refuse(SegmentRefusal::kWrongPeer);
  }
  if (!Fits(landing, segment)) return Refuse(SegmentRefusal::kOutOfRange);
  for (uint32_t i = 0; i < segment.num_blocks; ++i) {
    const Cell cell = CellAt(landing, segment.layer, segment.first_block + i);
    if (cell != Cell::kEmpty) return Refuse(SegmentRefusal::kDuplicate);
  }
  // From here on the sender cannot send these blocks any better: a commit that lists them is
  // rejected, not held.
  if (!SideBySide(landing, segment)) {
    MarkBad(landing, segment);
    SettleCommits(header.grant, landing);
    return Refuse(SegmentRefusal::kSplitRun);
  }
  if (length != segment.num_blocks * memory_.block_bytes ||
      header.block_crc32c.size() != segment.num_blocks) {
    MarkBad(landing, segment);
    SettleCommits(header.grant, landing);
    return Refuse(SegmentRefusal::kWrongLength);
  }

  const BlockId first = landing.blocks[segment.first_block - landing.first_block];
  Posted posted{header.grant, segment, header.block_crc32c,
                memory_.run(segment.layer, first, segment.num_blocks)};
  TANDEM_CHECK(posted.memory.size() == length);
  for (uint32_t i = 0; i < segment.num_blocks; ++i) {
    CellAt(landing, segment.layer, segment.first_block + i) = Cell::kPosted;
  }
  ++landing.posted_segments;
  const SegmentToken token(++last_token_);
  const Placement placement{posted.memory, token, memory_.block_bytes};
  posted_.emplace(token, std::move(posted));
  return placement;
}

void LandingTable::Received(SegmentToken token, bool ok, absl::Span<const uint32_t> block_crc32c) {
  const auto node = posted_.find(token);
  TANDEM_CHECK_MSG(node != posted_.end(), "the transport reported a segment twice");
  const Posted posted = std::move(node->second);
  posted_.erase(node);
  const auto it = landings_.find(posted.grant);
  TANDEM_CHECK(it != landings_.end());
  Landing& landing = it->second;
  --landing.posted_segments;

  if (ok) {
    ++counters_->segments_received;
    counters_->bytes_received += posted.memory.size();
  } else {
    ++counters_->receives_failed;
  }
  if (landing.closed) {  // nobody will read these blocks
    if (landing.posted_segments > 0) return;
    Forget(it);
    events_->emplace_back(Quiesced{posted.grant});
    return;
  }
  TANDEM_CHECK(!ok || block_crc32c.empty() || block_crc32c.size() == posted.segment.num_blocks);
  for (uint32_t i = 0; i < posted.segment.num_blocks; ++i) {
    const bool good = ok && Intact(landing.nonce, posted, i, block_crc32c);
    if (ok && !good) ++counters_->checksum_failures;
    CellAt(landing, posted.segment.layer, posted.segment.first_block + i) =
        good ? Cell::kGood : Cell::kBad;
  }
  SettleCommits(posted.grant, landing);
}

bool LandingTable::Intact(const Nonce& nonce, const Posted& posted, uint32_t block,
                          absl::Span<const uint32_t> block_crc32c) const {
  if (!Enabled(Protection::kChecksum)) return true;
  const uint32_t crc32c =
      block_crc32c.empty()
          ? Crc32c(posted.memory.subspan(block * memory_.block_bytes, memory_.block_bytes))
          : block_crc32c[block];
  return BlockChecksum(nonce, posted.segment, posted.segment.first_block + block, crc32c) ==
         posted.block_crc32c[block];
}

void LandingTable::HandleCommit(Incarnation peer, Commit commit) {
  const auto it = landings_.find(commit.grant);
  if (it == landings_.end() || it->second.refusing || it->second.peer != peer) {
    ++(*counters_)[FenceReason::kUnknownGrant];
    return;
  }
  Landing& landing = it->second;
  const uint32_t offset = commit.first_block - landing.first_block;
  if (commit.num_blocks == 0 || commit.first_block < landing.first_block ||
      offset >= landing.blocks.size() || commit.num_blocks > landing.blocks.size() - offset) {
    return Reject(commit, commit.segments, "the chunk is not within the grant");
  }
  const auto committed = landing.committed.begin() + offset;
  if (std::any_of(committed, committed + commit.num_blocks, [](bool named) { return named; })) {
    ++(*counters_)[FenceReason::kDuplicate];
    return;
  }
  std::fill(committed, committed + commit.num_blocks, true);
  if (std::string fault = FindFault(landing, commit); !fault.empty()) {
    return Reject(commit, commit.segments, std::move(fault));
  }
  landing.held.push_back(std::move(commit));
  SettleCommits(landing.held.back().grant, landing);
}

void LandingTable::Forget(Landings::iterator landing) {
  if (Enabled(Protection::kGenerationCheck)) landings_.erase(landing);
}

LandingTable::Cell& LandingTable::CellAt(Landing& landing, uint32_t layer, uint32_t block) const {
  return landing.cells[(block - landing.first_block) * memory_.num_layers + layer];
}

bool LandingTable::Fits(const Landing& landing, const SegmentId& segment) const {
  // Tensor-parallel senders will have shards above 0; today a worker holds all heads.
  if (segment.shard != 0 || segment.layer >= memory_.num_layers || segment.num_blocks == 0) {
    return false;
  }
  if (segment.first_block < landing.first_block) return false;
  const size_t offset = segment.first_block - landing.first_block;
  return offset < landing.blocks.size() && segment.num_blocks <= landing.blocks.size() - offset;
}

bool LandingTable::SideBySide(const Landing& landing, const SegmentId& segment) const {
  const size_t offset = segment.first_block - landing.first_block;
  for (uint32_t i = 1; i < segment.num_blocks; ++i) {
    if (landing.blocks[offset + i].value() != landing.blocks[offset].value() + i) return false;
  }
  return true;
}

void LandingTable::MarkBad(Landing& landing, const SegmentId& segment) {
  for (uint32_t i = 0; i < segment.num_blocks; ++i) {
    CellAt(landing, segment.layer, segment.first_block + i) = Cell::kBad;
  }
}

// Empty when the segments cover every (layer, block) of the chunk exactly once.
std::string LandingTable::FindFault(const Landing& landing, const Commit& commit) const {
  std::vector<bool> covered(size_t{commit.num_blocks} * memory_.num_layers, false);
  size_t num_covered = 0;
  for (const SegmentId& segment : commit.segments) {
    if (!Fits(landing, segment) || segment.first_block < commit.first_block ||
        segment.first_block + segment.num_blocks > commit.first_block + commit.num_blocks) {
      return "a segment is not within the chunk";
    }
    for (uint32_t i = 0; i < segment.num_blocks; ++i) {
      const size_t block = segment.first_block - commit.first_block + i;
      auto cell = covered[block * memory_.num_layers + segment.layer];
      if (cell) return "two segments cover the same block";
      cell = true;
      ++num_covered;
    }
  }
  return num_covered == covered.size() ? "" : "the segments do not cover every layer and block";
}

bool LandingTable::AllArrived(Landing& landing, const Commit& commit) const {
  const size_t begin = (commit.first_block - landing.first_block) * size_t{memory_.num_layers};
  const size_t count = commit.num_blocks * size_t{memory_.num_layers};
  return std::all_of(landing.cells.begin() + begin, landing.cells.begin() + begin + count,
                     [](Cell cell) { return cell == Cell::kGood || cell == Cell::kBad; });
}

std::vector<SegmentId> LandingTable::BadSegments(Landing& landing, const Commit& commit) const {
  std::vector<SegmentId> bad;
  for (const SegmentId& segment : commit.segments) {
    for (uint32_t i = 0; i < segment.num_blocks; ++i) {
      if (CellAt(landing, segment.layer, segment.first_block + i) == Cell::kGood) continue;
      bad.push_back(segment);
      break;
    }
  }
  return bad;
}

void LandingTable::SettleCommits(GrantId grant, Landing& landing) {
  for (auto it = landing.held.begin(); it != landing.held.end();) {
    if (!AllArrived(landing, *it)) {
      ++it;
      continue;
    }
    if (std::vector<SegmentId> bad = BadSegments(landing, *it); !bad.empty()) {
      Reject(*it, std::move(bad), "segments were damaged on the way or did not fit");
    } else {
      ++counters_->chunks_verified;
      events_->emplace_back(
          ChunkVerified{grant, it->first_block, it->num_blocks,
                        uint64_t{it->num_blocks} * memory_.num_layers * memory_.block_bytes});
    }
    it = landing.held.erase(it);
  }
}

void LandingTable::Reject(const Commit& commit, std::vector<SegmentId> bad, std::string reason) {
  ++counters_->chunks_rejected;
  events_->emplace_back(ChunkRejected{commit.grant, commit.first_block, commit.num_blocks,
                                      std::move(bad), std::move(reason)});
}

std::optional<Placement> LandingTable::Refuse(SegmentRefusal why) {
  ++(*counters_)[why];
  return std::nullopt;
}

}  // namespace tandem
