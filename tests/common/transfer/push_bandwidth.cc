// Measures a push between two processes over UCX, segments of 768 KB with checksums:
// "push_bandwidth TRANSFER_PEER". The environment (UCX_TLS) chooses the transport. Prints GB/s as
// the receiver sees it.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/transfer/auto/auto_transport.h"
#include "tests/common/transfer/peer_process.h"
#include "tests/common/transfer/pushing_core.h"

namespace tandem {
namespace {

constexpr size_t kBlockBytes = 98304;
constexpr uint32_t kBlocksPerSegment = 8;

// GB/s over a segment that was written a moment ago, as both sides find it: here by a copy, at the
// receiver by the transport, at the sender by the layer's computation.
double ChecksumRate() {
  constexpr size_t kSegmentBytes = kBlocksPerSegment * kBlockBytes;
  constexpr int kSegments = 200;
  const std::vector<std::byte> source(kSegmentBytes, std::byte{1});
  std::vector<std::byte> segment(kSegmentBytes);
  Duration spent{};
  uint32_t sum = 0;
  for (int i = 0; i < kSegments; ++i) {
    std::copy(source.begin(), source.end(), segment.begin());
    const Instant start = SystemClock().Now();
    for (uint32_t block = 0; block < kBlocksPerSegment; ++block) {
      sum ^= Crc32c(absl::MakeConstSpan(segment).subspan(block * kBlockBytes, kBlockBytes));
    }
    spent += SystemClock().Now() - start;
  }
  TANDEM_CHECK(sum == 0);  // an even number of equal segments
  return kSegments * kSegmentBytes / ToSeconds(spent) / 1e9;
}

void Measure(const char* peer_program) {
  absl::StatusOr<std::unique_ptr<KvTransport>> transport = MakeAutoTransport(UcxNetwork::kLoopback);
  TANDEM_CHECK_MSG(transport.ok(), transport.status().message());
  EngineNode node(*std::move(transport), TestOptions(kTestIncarnation), kBlockBytes);
  PushingCore core(&node, false, kBlocksPerSegment);
  PeerProcess peer(peer_program, "push", kBlockBytes, kBlocksPerSegment, node.address());
  const auto run = [&](Duration span) {
    const Instant end = SystemClock().Now() + span;
    while (SystemClock().Now() < end) {
      node.Poll();
      core.Step();
    }
  };
  while (core.rounds() < 3) run(std::chrono::milliseconds(1));
  std::vector<double> rates;
  for (int i = 0; i < 5; ++i) {
    const uint64_t before = node.engine().counters().bytes_received;
    const Instant start = SystemClock().Now();
    run(std::chrono::milliseconds(200));
    const double seconds = ToSeconds(SystemClock().Now() - start);
    rates.push_back((node.engine().counters().bytes_received - before) / seconds / 1e9);
  }
  std::sort(rates.begin(), rates.end());

  const double checksum = ChecksumRate();
  const double push = rates[rates.size() / 2];
  std::printf(
      "%s\npush %.2f GB/s (%.2f .. %.2f); checksum of a segment just written %.1f GB/s: %.1f %% of "
      "each side's time\n",
      node.log.back().c_str(), push, rates.front(), rates.back(), checksum, 100 * push / checksum);
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: push_bandwidth TRANSFER_PEER\n"), 2;
  tandem::Measure(argv[1]);
}
