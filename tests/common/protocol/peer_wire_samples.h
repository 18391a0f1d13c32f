// One or more valid messages of each kind, for tests and the fuzz corpus.
#pragma once

#include <vector>

#include "common/protocol/peer_messages.h"

namespace tandem {

inline std::vector<PeerMessage> SamplePeerMessages() {
  Handshake handshake;
  handshake.incarnation = Incarnation(0x1122334455667788);
  handshake.kv = {"model", "cpu-avx2-f16", 16, 30, 3, 64, "f16", "layer,block,kv,head,token,dim",
                  "crc32c"};
  const Nonce nonce{0xaabbccdd, 0x11223344};
  const std::vector<SegmentId> segments = {{0, 0, 4, 2}, {0, 1, 4, 1}, {3, 1, 5, 1}};
  return {
      PeerHello{handshake, std::string("addr\0ess", 8)},
      PeerHelloAck{handshake, ""},
      PeerHelloAck{handshake, "handshake mismatch in head_dim: ours '64', theirs '128'"},
      Offer{nonce, Incarnation(9), 12},
      Grant{nonce, GrantId(77), 4, {2, 5, 1}},
      Grant{nonce, GrantId(78), 4, {}},
      OfferRefused{nonce, "unknown nonce"},
      Commit{GrantId(77), 4, 2, segments},
      CommitAck{GrantId(77), 4, 2, {}},
      CommitAck{GrantId(77), 4, 2, segments},
      Abandon{nonce, "out of memory"},
      Revoke{nonce, ""},
  };
}

}  // namespace tandem
