// The other process of the two-process tests: "transfer_peer push|stream|land|vanish|leave
// BLOCK_BYTES BLOCKS_PER_SEGMENT". Reads a transfer address from stdin (to its end), connects to it
// as incarnation 101 and pushes, or lands, until it is killed or the connection ends; with "stream"
// it pushes and sleeps when there is nothing to do, as the transfer thread does. With "vanish" it
// dies once its first bytes are out, without waiting for an answer; with "leave" it exits in good
// order then.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "common/base/check.h"
#include "common/transfer/auto/auto_transport.h"
#include "tests/common/transfer/peer_process.h"
#include "tests/common/transfer/pushing_core.h"

int main(int argc, char** argv) {
  using namespace tandem;
  TANDEM_CHECK(argc == 4);
  std::string address;
  for (int c = std::getchar(); c != EOF; c = std::getchar())
    address.push_back(static_cast<char>(c));
  absl::StatusOr<std::unique_ptr<KvTransport>> transport = MakeAutoTransport(UcxNetwork::kLoopback);
  TANDEM_CHECK_MSG(transport.ok(), transport.status().message());
  EngineNode node(*std::move(transport), TestOptions(kPeerIncarnation),
                  std::strtoul(argv[2], nullptr, 10));
  const std::string mode = argv[1];
  PushingCore core(&node, mode == "push" || mode == "stream", std::strtoul(argv[3], nullptr, 10));
  (void)!write(kReadyFd, "", 1);
  node.Do(ConnectPeer{Incarnation(kTestIncarnation), address});
  if (mode == "vanish" || mode == "leave") {
    for (int i = 0; i < 1000; ++i) node.Poll();
    if (mode == "vanish") _exit(0);
    return 0;
  }
  while (!core.down()) {
    mode == "stream" ? node.PollOrSleep() : void(node.Poll());
    core.Step();
  }
  return 0;
}
