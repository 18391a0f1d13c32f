// Measures a push between two processes, segments of 768 KiB with checksums:
// "push_bandwidth TRANSFER_PEER". The environment (UCX_TLS) chooses the transport. Prints a line
// for a person and one of JSON: `push` GB/s of each window as the receiver sees it, `checksum` GB/s
// of that alone, `receiver_cpu`, `sender_cpu` seconds per GiB. Both sides sleep when idle, and walk
// through 72 MiB each.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/transfer/auto/auto_transport.h"
#include "tests/common/transfer/peer_process.h"
#include "tests/common/transfer/pushing_core.h"

namespace tandem {
namespace {

constexpr size_t kBlockBytes = 786432;  // a block and a segment: more memory with the same segments
constexpr uint32_t kBlocksPerSegment = 1;
constexpr int kWindows = 9;

// GB/s over a segment that was written a moment ago, as both sides find it: here by a copy, at the
// receiver by the transport, at the sender by the layer's computation.
double ChecksumRate() {
  constexpr size_t kSegmentBytes = kBlockBytes;
  constexpr int kSegments = 200;
  const std::vector<std::byte> source(kSegmentBytes, std::byte{1});
  std::vector<std::byte> segment(kSegmentBytes);
  Duration spent{};
  uint32_t sum = 0;
  for (int i = 0; i < kSegments; ++i) {
    std::copy(source.begin(), source.end(), segment.begin());
    const Instant start = SystemClock().Now();
    sum ^= Crc32c(absl::MakeConstSpan(segment));
    spent += SystemClock().Now() - start;
  }
  TANDEM_CHECK(sum == 0);  // an even number of equal segments
  return kSegments * kSegmentBytes / ToSeconds(spent) / 1e9;
}

double SecondsPerGiB(Duration cpu, uint64_t bytes) {
  return ToSeconds(cpu) / (static_cast<double>(bytes) / (1 << 30));
}

Duration OwnCpuTime() {
  timespec spent;
  TANDEM_CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent) == 0);
  return std::chrono::seconds(spent.tv_sec) + std::chrono::nanoseconds(spent.tv_nsec);
}

void Measure(const char* peer_program) {
  absl::StatusOr<std::unique_ptr<KvTransport>> transport = MakeAutoTransport(UcxNetwork::kLoopback);
  TANDEM_CHECK_MSG(transport.ok(), transport.status().message());
  EngineNode node(*std::move(transport), TestOptions(kTestIncarnation), kBlockBytes);
  PushingCore core(&node, false, kBlocksPerSegment);
  PeerProcess peer(peer_program, "stream", kBlockBytes, kBlocksPerSegment, node.address());
  const auto run = [&](Duration span) {
    const Instant end = SystemClock().Now() + span;
    while (SystemClock().Now() < end) {
      node.PollOrSleep();
      core.Step();
    }
  };
  while (core.rounds() < 3) run(std::chrono::milliseconds(1));
  std::vector<double> rates;
  const uint64_t bytes_before = node.engine().counters().bytes_received;
  const Duration own_before = OwnCpuTime(), peer_before = peer.CpuTime();
  for (int i = 0; i < kWindows; ++i) {
    const uint64_t before = node.engine().counters().bytes_received;
    const Instant start = SystemClock().Now();
    run(std::chrono::milliseconds(200));
    const double seconds = ToSeconds(SystemClock().Now() - start);
    rates.push_back((node.engine().counters().bytes_received - before) / seconds / 1e9);
  }
  const uint64_t bytes = node.engine().counters().bytes_received - bytes_before;
  const double receiver = SecondsPerGiB(OwnCpuTime() - own_before, bytes);
  const double sender = SecondsPerGiB(peer.CpuTime() - peer_before, bytes);
  std::sort(rates.begin(), rates.end());

  const double checksum = ChecksumRate();
  const double push = rates[rates.size() / 2];
  std::printf(
      "%s\npush %.2f GB/s (%.2f .. %.2f); checksum of a segment just written %.1f GB/s: %.1f %% of "
      "each side's time\n",
      node.log.back().c_str(), push, rates.front(), rates.back(), checksum, 100 * push / checksum);
  std::string list;
  for (double rate : rates) absl::StrAppend(&list, list.empty() ? "" : ", ", rate);
  std::printf(
      "{\"push\": [%s], \"checksum\": %.2f, \"receiver_cpu\": %.4f, \"sender_cpu\": %.4f}\n",
      list.c_str(), checksum, receiver, sender);
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: push_bandwidth TRANSFER_PEER\n"), 2;
  tandem::Measure(argv[1]);
}
