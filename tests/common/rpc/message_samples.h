// One message of each kind with every field set to something that is not its default, for tests of
// conversion.
#pragma once

#include <limits>
#include <vector>

#include "common/protocol/router_messages.h"

namespace tandem {

inline Duration Ms(int64_t ms) { return std::chrono::milliseconds(ms); }

inline FillAssignment SampleAssignment() {
  return {.attempt = 2,
          .nonce = {.high = 0x1122334455667788, .low = 0x99aabbccddeeff00},
          .prefill = Incarnation(77),
          .fallback_after = Ms(5500)};
}

inline Generate SampleGenerate() {
  return {.request = RequestId(0xfedcba9876543210),
          .trace_id = "cmpl-7",
          .epoch = 3,
          .prompt = {1, 49151, 300},
          .outputs = {7, 8},
          .sampling = {.temperature = 0.7f,
                       .top_k = 40,
                       .top_p = 0.9f,
                       .seed = std::numeric_limits<uint64_t>::max(),
                       .max_tokens = 128,
                       .min_tokens = 4,
                       .ignore_eos = true,
                       .stop_token_ids = {2, 5},
                       .top_logprobs = 0},
          .cache_salt = std::string("salt\0\xff", 6),
          .remaining = Ms(600000),
          .assignment = SampleAssignment(),
          .lane = Lane::kBulk};
}

inline PrefillJob SamplePrefillJob() {
  return {.request = RequestId(5),
          .trace_id = "cmpl-8",
          .epoch = 1,
          .attempt = 2,
          .nonce = {.high = 1, .low = 2},
          .tokens = {9, 10, 11},
          .cache_salt = "s",
          .decode_address = std::string("\x00\x01ucx", 5),
          .decode = Incarnation(88),
          .remaining = Ms(1000),
          .lane = Lane::kBulk};
}

inline std::vector<RouterToWorker> SampleRouterMessages() {
  return {RouterHello{.wire_version = 3, .oldest_wire_version = 2, .router_name = "router-0"},
          SampleGenerate(),
          Assign{.request = RequestId(5), .epoch = 1, .assignment = SampleAssignment()},
          Cancel{.request = RequestId(6), .epoch = 2},
          SamplePrefillJob(),
          CancelJob{.request = RequestId(7), .epoch = 2, .attempt = 1},
          RouterHeartbeat{}};
}

inline WorkerHello SampleWorkerHello() {
  return {.role = WorkerRole::kPrefill,
          .handshake = {.wire_version = 3,
                        .oldest_wire_version = 1,
                        .incarnation = Incarnation(99),
                        .kv = {.model_fingerprint = "f",
                               .numeric_profile = "cpu-avx2-f16",
                               .block_tokens = 32,
                               .num_layers = 30,
                               .num_kv_heads = 3,
                               .head_dim = 64,
                               .kv_type = "f16",
                               .layout = "layer,block,kv,head,token,dim",
                               .checksum = "none"}},
          .worker_name = "prefill-0",
          .model_name = "smol",
          .transfer_address = std::string("\xff\x00", 2),
          .max_model_len = 2048,
          .num_blocks = 1000,
          .max_sequences = 16};
}

inline TokenFrame SampleTokenFrame() {
  return {.request = RequestId(5),
          .choice = 1,
          .epoch = 2,
          .first_index = 3,
          .tokens = {11, 12},
          .logprobs = {{.chosen = {11, -0.5f}, .top = {{11, -0.5f}, {4, -2.0f}}},
                       {.chosen = {12, -1.5f}, .top = {}}},
          .finish = Finish{.reason = FinishReason::kError,
                           .stop_token = 0,
                           .error = "bad \xff byte",
                           .timings = {.first_grant = Ms(1),
                                       .landed = Ms(2),
                                       .first_token = Ms(3),
                                       .finished = Ms(4),
                                       .cached_tokens = 5,
                                       .pushed_tokens = 6,
                                       .computed_tokens = 7}}};
}

inline std::vector<WorkerToRouter> SampleWorkerMessages() {
  return {
      SampleWorkerHello(),
      Booked{.request = RequestId(5), .epoch = 1, .cached_tokens = 32},
      Refused{
          .request = RequestId(5), .epoch = 1, .reason = RefuseReason::kInvalid, .message = "no"},
      SampleTokenFrame(),
      FillLost{.request = RequestId(5),
               .epoch = 1,
               .attempt = 2,
               .reason = "peer lost",
               .filling_itself = true},
      JobEnded{.request = RequestId(5),
               .epoch = 1,
               .attempt = 2,
               .result = JobResult::kRefused,
               .message = "full",
               .cached_tokens = 16,
               .computed_tokens = 17,
               .pushed_bytes = uint64_t{1} << 40,
               .queued = Ms(1),
               .computing = Ms(2),
               .exposed = Ms(3)},
      WorkerHeartbeat{.progress_age = Ms(9),
                      .draining = true,
                      .load = {.total_blocks = 1,
                               .free_blocks = 2,
                               .booked_blocks = 3,
                               .running = 4,
                               .waiting = 5,
                               .waiting_tokens = uint64_t{1} << 33}}};
}

}  // namespace tandem
