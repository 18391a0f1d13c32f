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

  const Instant start = SystemClock().Now();
  uint32_t sum = 0;
  for (int i = 0; i < 2000; ++i)
    sum += Crc32c(node.memory.Block(i % kTestLayers, BlockId(i % kTestBlocks)));
  const double crc = 2000 * kBlockBytes / ToSeconds(SystemClock().Now() - start) / 1e9;
  std::printf(
      "%s\npush %.2f GB/s (%.2f .. %.2f); checksum alone %.1f GB/s: its share is %.1f %% of each "
      "side's time "
      "(%u)\n",
      node.log.back().c_str(), rates[2], rates.front(), rates.back(), crc, 100 * rates[2] / crc,
      sum & 1);
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: push_bandwidth TRANSFER_PEER\n"), 2;
  tandem::Measure(argv[1]);
}
