// The protections whose need the simulation proves: each can be switched off there, one at a time,
// and the simulation's oracle must see what then goes wrong (tests/sim/run --prove-oracle).
//
// Shipped code has no switch: Enabled() is the constant true and the compiler leaves no trace of
// the question. Only the simulation compiles its own copy of the cores with TANDEM_TEST_SWITCHES
// and brings a definition. The question stands in the production source, at the one place that
// protects, because undoing a protection from outside (forging epochs, say) would test something
// else.
#pragma once

#include <cstdint>

namespace tandem {

enum class Protection : uint8_t {
  kEpochFence,         // the router hears only the current epoch of a request
  kGenerationCheck,    // memory is named only under a grant that is open, for its own peer
  kChecksum,           // a block's bytes are compared with the sender's checksum
  kQuarantine,         // blocks of a revoked grant wait until nothing writes them
  kAttemptRevocation,  // a filler that was replaced loses its right to write
  kDeadlines,          // every wait ends
};
inline constexpr int kNumProtections = 6;

#ifdef TANDEM_TEST_SWITCHES
bool Enabled(Protection protection);
#else
constexpr bool Enabled(Protection) { return true; }
#endif

}  // namespace tandem
