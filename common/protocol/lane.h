// Lane: how urgent a request is. It decides what runs first and what a step's limit of time
// protects (common/engine/step_planner.h), never what the answer is.
//
// So a worker refuses no number for a lane: one that only later routers know is kInteractive to it,
// as is none at all. Somebody may wait for the tokens, and who does not is served too soon.
#pragma once

#include <cstdint>

namespace tandem {

enum class Lane : uint8_t {
  kInteractive = 0,  // somebody waits for each token
  kBulk = 1,         // only the whole matters: it takes what interactive work leaves
};

}  // namespace tandem
