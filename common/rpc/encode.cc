// Protocol structs to protobuf.
#include <algorithm>
#include <cmath>
#include <variant>

#include "common/rpc/convert.h"
#include "common/rpc/tandem.pb.h"

namespace tandem {
namespace {

int64_t Nanoseconds(Duration duration) {
  return std::clamp(duration, Duration::zero(), kMaxWireDuration).count();
}

std::string Reason(const std::string& text) { return text.substr(0, kMaxReasonBytes); }

void Put(absl::Span<const TokenId> tokens, google::protobuf::RepeatedField<int32_t>* out) {
  out->Add(tokens.begin(), tokens.end());
}

void Put(const Nonce& nonce, v1::Nonce* out) {
  out->set_high(nonce.high);
  out->set_low(nonce.low);
}

void Put(const SamplingParams& s, v1::SamplingParams* out) {
  out->set_temperature(s.temperature);
  out->set_top_k(s.top_k);
  out->set_top_p(s.top_p);
  out->set_seed(s.seed);
  out->set_max_tokens(s.max_tokens);
  out->set_min_tokens(s.min_tokens);
  out->set_ignore_eos(s.ignore_eos);
  Put(s.stop_token_ids, out->mutable_stop_token_ids());
  if (s.top_logprobs >= 0) out->set_top_logprobs(s.top_logprobs);
}

void Put(const FillAssignment& a, v1::FillAssignment* out) {
  out->set_attempt(a.attempt);
  Put(a.nonce, out->mutable_nonce());
  out->set_prefill(a.prefill.value());
  out->set_fallback_after_ns(Nanoseconds(a.fallback_after));
}

v1::Lane Put(Lane lane) { return static_cast<v1::Lane>(lane); }

void Put(const RouterHello& m, v1::RouterMessage* message) {
  v1::RouterHello* out = message->mutable_hello();
  out->set_wire_version(m.wire_version);
  out->set_oldest_wire_version(m.oldest_wire_version);
  out->set_router_name(m.router_name);
}

void Put(const Generate& m, v1::RouterMessage* message) {
  v1::Generate* out = message->mutable_generate();
  out->set_request(m.request.value());
  out->set_trace_id(m.trace_id);
  out->set_epoch(m.epoch);
  Put(m.prompt, out->mutable_prompt());
  Put(m.outputs, out->mutable_outputs());
  Put(m.sampling, out->mutable_sampling());
  out->set_cache_salt(m.cache_salt);
  out->set_remaining_ns(Nanoseconds(m.remaining));
  if (m.assignment) Put(*m.assignment, out->mutable_assignment());
  out->set_lane(Put(m.lane));
}

void Put(const Assign& m, v1::RouterMessage* message) {
  v1::Assign* out = message->mutable_assign();
  out->set_request(m.request.value());
  out->set_epoch(m.epoch);
  if (m.assignment) Put(*m.assignment, out->mutable_assignment());
}

void Put(const Cancel& m, v1::RouterMessage* message) {
  v1::Cancel* out = message->mutable_cancel();
  out->set_request(m.request.value());
  out->set_epoch(m.epoch);
}

void Put(const PrefillJob& m, v1::RouterMessage* message) {
  v1::PrefillJob* out = message->mutable_prefill_job();
  out->set_request(m.request.value());
  out->set_trace_id(m.trace_id);
  out->set_epoch(m.epoch);
  out->set_attempt(m.attempt);
  Put(m.nonce, out->mutable_nonce());
  Put(m.tokens, out->mutable_tokens());
  out->set_cache_salt(m.cache_salt);
  out->set_decode_address(m.decode_address);
  out->set_decode(m.decode.value());
  out->set_remaining_ns(Nanoseconds(m.remaining));
  out->set_lane(Put(m.lane));
}

void Put(const CancelJob& m, v1::RouterMessage* message) {
  v1::CancelJob* out = message->mutable_cancel_job();
  out->set_request(m.request.value());
  out->set_epoch(m.epoch);
  out->set_attempt(m.attempt);
}

void Put(const RouterHeartbeat&, v1::RouterMessage* message) { message->mutable_heartbeat(); }

void Put(const Handshake& handshake, v1::Handshake* out) {
  out->set_wire_version(handshake.wire_version);
  out->set_oldest_wire_version(handshake.oldest_wire_version);
  out->set_incarnation(handshake.incarnation.value());
  v1::KvTerms* kv = out->mutable_kv();
  kv->set_model_fingerprint(handshake.kv.model_fingerprint);
  kv->set_numeric_profile(handshake.kv.numeric_profile);
  kv->set_block_tokens(handshake.kv.block_tokens);
  kv->set_num_layers(handshake.kv.num_layers);
  kv->set_num_kv_heads(handshake.kv.num_kv_heads);
  kv->set_head_dim(handshake.kv.head_dim);
  kv->set_kv_type(handshake.kv.kv_type);
  kv->set_layout(handshake.kv.layout);
  kv->set_checksum(handshake.kv.checksum);
}

void Put(const WorkerHello& m, v1::WorkerMessage* message) {
  v1::WorkerHello* out = message->mutable_hello();
  out->set_role(static_cast<v1::WorkerRole>(m.role));
  Put(m.handshake, out->mutable_handshake());
  out->set_worker_name(m.worker_name);
  out->set_model_name(m.model_name);
  out->set_transfer_address(m.transfer_address);
  out->set_max_model_len(m.max_model_len);
  out->set_num_blocks(m.num_blocks);
  out->set_max_sequences(m.max_sequences);
}

void Put(const Booked& m, v1::WorkerMessage* message) {
  v1::Booked* out = message->mutable_booked();
  out->set_request(m.request.value());
  out->set_epoch(m.epoch);
  out->set_cached_tokens(m.cached_tokens);
}

void Put(const Refused& m, v1::WorkerMessage* message) {
  v1::Refused* out = message->mutable_refused();
  out->set_request(m.request.value());
  out->set_epoch(m.epoch);
  out->set_reason(static_cast<v1::RefuseReason>(m.reason));
  out->set_message(Reason(m.message));
}

void Put(const TokenLogprob& logprob, v1::TokenLogprob* out) {
  out->set_token(logprob.token);
  out->set_logprob(std::max(logprob.logprob, kMinWireLogprob));
}

void Put(const Finish& finish, v1::Finish* out) {
  out->set_reason(static_cast<v1::FinishReason>(finish.reason));
  if (finish.stop_token) out->set_stop_token(*finish.stop_token);
  out->set_error(Reason(finish.error));
  v1::DecodeTimings* timings = out->mutable_timings();
  timings->set_first_grant_ns(Nanoseconds(finish.timings.first_grant));
  timings->set_landed_ns(Nanoseconds(finish.timings.landed));
  timings->set_first_token_ns(Nanoseconds(finish.timings.first_token));
  timings->set_finished_ns(Nanoseconds(finish.timings.finished));
  timings->set_cached_tokens(finish.timings.cached_tokens);
  timings->set_pushed_tokens(finish.timings.pushed_tokens);
  timings->set_computed_tokens(finish.timings.computed_tokens);
}

void Put(const TokenFrame& m, v1::WorkerMessage* message) {
  v1::TokenFrame* out = message->mutable_token_frame();
  out->set_request(m.request.value());
  out->set_choice(m.choice);
  out->set_epoch(m.epoch);
  out->set_first_index(m.first_index);
  Put(m.tokens, out->mutable_tokens());
  for (const OutputLogprobs& logprobs : m.logprobs) {
    v1::OutputLogprobs* entry = out->add_logprobs();
    Put(logprobs.chosen, entry->mutable_chosen());
    for (const TokenLogprob& top : logprobs.top) Put(top, entry->add_top());
  }
  if (m.finish) Put(*m.finish, out->mutable_finish());
}

void Put(const FillLost& m, v1::WorkerMessage* message) {
  v1::FillLost* out = message->mutable_fill_lost();
  out->set_request(m.request.value());
  out->set_epoch(m.epoch);
  out->set_attempt(m.attempt);
  out->set_reason(Reason(m.reason));
  out->set_filling_itself(m.filling_itself);
}

void Put(const JobEnded& m, v1::WorkerMessage* message) {
  v1::JobEnded* out = message->mutable_job_ended();
  out->set_request(m.request.value());
  out->set_epoch(m.epoch);
  out->set_attempt(m.attempt);
  out->set_result(static_cast<v1::JobResult>(m.result));
  out->set_message(Reason(m.message));
  out->set_cached_tokens(m.cached_tokens);
  out->set_computed_tokens(m.computed_tokens);
  out->set_pushed_bytes(m.pushed_bytes);
  out->set_queued_ns(Nanoseconds(m.queued));
  out->set_computing_ns(Nanoseconds(m.computing));
  out->set_exposed_ns(Nanoseconds(m.exposed));
}

void Put(const WorkerHeartbeat& m, v1::WorkerMessage* message) {
  v1::WorkerHeartbeat* out = message->mutable_heartbeat();
  out->set_progress_age_ns(Nanoseconds(m.progress_age));
  out->set_draining(m.draining);
  v1::WorkerLoad* load = out->mutable_load();
  load->set_total_blocks(m.load.total_blocks);
  load->set_free_blocks(m.load.free_blocks);
  load->set_booked_blocks(m.load.booked_blocks);
  load->set_running(m.load.running);
  load->set_waiting(m.load.waiting);
  load->set_waiting_tokens(m.load.waiting_tokens);
}

template <class Frame, class Message>
void EncodeInto(absl::Span<const Message> messages, Frame* frame) {
  frame->mutable_messages()->Reserve(static_cast<int>(messages.size()));
  for (const Message& message : messages) {
    std::visit([&](const auto& m) { Put(m, frame->add_messages()); }, message);
  }
}

}  // namespace

void EncodeFrame(absl::Span<const RouterToWorker> messages, v1::RouterFrame* frame) {
  EncodeInto(messages, frame);
}

void EncodeFrame(absl::Span<const WorkerToRouter> messages, v1::WorkerFrame* frame) {
  EncodeInto(messages, frame);
}

std::string SerializeFrame(absl::Span<const RouterToWorker> messages) {
  v1::RouterFrame frame;
  EncodeFrame(messages, &frame);
  return frame.SerializeAsString();
}

std::string SerializeFrame(absl::Span<const WorkerToRouter> messages) {
  v1::WorkerFrame frame;
  EncodeFrame(messages, &frame);
  return frame.SerializeAsString();
}

}  // namespace tandem
