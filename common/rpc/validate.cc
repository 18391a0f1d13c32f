// The rules of convert.h: one overload of Check for each message, in the order of
// router_messages.h.
#include <algorithm>
#include <cmath>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rpc/convert.h"

namespace tandem {
namespace {

absl::Status Bad(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", what));
}

// Adds the message's name in front of the field's.
absl::Status Under(absl::string_view parent, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat(parent, ".", status.message()));
}

template <class T>
absl::Status InRange(absl::string_view field, T value, T low, T high) {
  if (value >= low && value <= high) return absl::OkStatus();  // false for NaN
  return Bad(field, absl::StrCat(value, " is outside [", low, ", ", high, "]"));
}

absl::Status NotNegative(absl::string_view field, Duration duration) {
  return duration >= Duration::zero() ? absl::OkStatus() : Bad(field, "negative");
}

absl::Status Text(absl::string_view field, absl::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return absl::OkStatus();
  return Bad(field, absl::StrCat(text.size(), " bytes are more than ", max_bytes));
}

absl::Status Tokens(absl::string_view field, absl::Span<const TokenId> tokens, size_t max_count) {
  if (tokens.size() > max_count) {
    return Bad(field, absl::StrCat(tokens.size(), " tokens are more than ", max_count));
  }
  const auto bad = std::find_if(tokens.begin(), tokens.end(), [](TokenId t) { return t < 0; });
  if (bad == tokens.end()) return absl::OkStatus();
  return Bad(field, absl::StrCat("token ", *bad, " at ", bad - tokens.begin(), " is negative"));
}

absl::Status Known(absl::string_view field, Incarnation incarnation) {
  return incarnation.value() != 0 ? absl::OkStatus() : Bad(field, "no incarnation");
}

absl::Status Drawn(absl::string_view field, const Nonce& nonce) {
  return nonce != Nonce{} ? absl::OkStatus() : Bad(field, "all zero");
}

absl::Status Known(absl::string_view field, Lane lane) {
  return lane <= Lane::kBulk ? absl::OkStatus()
                             : Bad(field, absl::StrCat(static_cast<int>(lane), " is no lane"));
}

absl::Status AtLeastOne(absl::string_view field, uint32_t value) {
  return value > 0 ? absl::OkStatus() : Bad(field, "0");
}

absl::Status WireVersions(uint32_t version, uint32_t oldest) {
  if (oldest > 0 && oldest <= version) return absl::OkStatus();
  return Bad("oldest_wire_version", absl::StrCat(oldest, " does not go with version ", version));
}

absl::Status Check(const SamplingParams& s) {
  RETURN_IF_ERROR(InRange("temperature", s.temperature, 0.0f, 100.0f));
  RETURN_IF_ERROR(InRange("top_k", s.top_k, 0, 1 << 24));
  if (!(s.top_p > 0.0f && s.top_p <= 1.0f)) {
    return Bad("top_p", absl::StrCat(s.top_p, " is outside (0, 1]"));
  }
  RETURN_IF_ERROR(InRange<uint32_t>("max_tokens", s.max_tokens, 1, uint32_t{kMaxSequenceTokens}));
  RETURN_IF_ERROR(InRange<uint32_t>("min_tokens", s.min_tokens, 0, s.max_tokens));
  RETURN_IF_ERROR(Tokens("stop_token_ids", s.stop_token_ids, kMaxStopTokenIds));
  return InRange("top_logprobs", s.top_logprobs, -1, kMaxTopLogprobs);
}

absl::Status Check(const std::optional<FillAssignment>& assignment) {
  if (!assignment) return absl::OkStatus();
  RETURN_IF_ERROR(AtLeastOne("attempt", assignment->attempt));
  RETURN_IF_ERROR(Drawn("nonce", assignment->nonce));
  RETURN_IF_ERROR(Known("prefill", assignment->prefill));
  return NotNegative("fallback_after", assignment->fallback_after);
}

absl::Status Check(const Generate& m) {
  RETURN_IF_ERROR(Text("trace_id", m.trace_id, kMaxNameBytes));
  if (m.prompt.empty()) return Bad("prompt", "empty");
  RETURN_IF_ERROR(Tokens("prompt", m.prompt, kMaxSequenceTokens));
  RETURN_IF_ERROR(Tokens("outputs", m.outputs, kMaxSequenceTokens));
  RETURN_IF_ERROR(Under("sampling", Check(m.sampling)));
  RETURN_IF_ERROR(Text("cache_salt", m.cache_salt, kMaxNameBytes));
  RETURN_IF_ERROR(NotNegative("remaining", m.remaining));
  RETURN_IF_ERROR(Known("lane", m.lane));
  return Under("assignment", Check(m.assignment));
}

absl::Status Check(const Assign& m) { return Under("assignment", Check(m.assignment)); }

absl::Status Check(const Cancel&) { return absl::OkStatus(); }

absl::Status Check(const PrefillJob& m) {
  RETURN_IF_ERROR(Text("trace_id", m.trace_id, kMaxNameBytes));
  RETURN_IF_ERROR(AtLeastOne("attempt", m.attempt));
  RETURN_IF_ERROR(Drawn("nonce", m.nonce));
  if (m.tokens.empty()) return Bad("tokens", "empty");
  RETURN_IF_ERROR(Tokens("tokens", m.tokens, 2 * kMaxSequenceTokens));
  RETURN_IF_ERROR(Text("cache_salt", m.cache_salt, kMaxNameBytes));
  if (m.decode_address.empty()) return Bad("decode_address", "empty");
  RETURN_IF_ERROR(Text("decode_address", m.decode_address, kMaxAddressBytes));
  RETURN_IF_ERROR(Known("decode", m.decode));
  RETURN_IF_ERROR(Known("lane", m.lane));
  return NotNegative("remaining", m.remaining);
}

absl::Status Check(const CancelJob& m) { return AtLeastOne("attempt", m.attempt); }

absl::Status Check(const RouterHello& m) {
  RETURN_IF_ERROR(WireVersions(m.wire_version, m.oldest_wire_version));
  return Text("router_name", m.router_name, kMaxNameBytes);
}

absl::Status Check(const RouterHeartbeat&) { return absl::OkStatus(); }

absl::Status Check(const Booked& m) {
  return InRange<uint32_t>("cached_tokens", m.cached_tokens, 0, uint32_t{2 * kMaxSequenceTokens});
}

absl::Status Check(const Refused& m) {
  return InRange<int>("reason", static_cast<int>(m.reason), 1, 5);
}

absl::Status Check(const TokenLogprob& m) {
  if (m.token < 0) return Bad("token", "negative");
  return std::isnan(m.logprob) || m.logprob > 1e30f ? Bad("logprob", "not a finite number")
                                                    : absl::OkStatus();
}

absl::Status Check(const OutputLogprobs& m) {
  RETURN_IF_ERROR(Under("chosen", Check(m.chosen)));
  RETURN_IF_ERROR(InRange<size_t>("top", m.top.size(), 0, kMaxTopLogprobs));
  for (const TokenLogprob& top : m.top) RETURN_IF_ERROR(Under("top", Check(top)));
  return absl::OkStatus();
}

absl::Status Check(const Finish& m) {
  RETURN_IF_ERROR(InRange<int>("reason", static_cast<int>(m.reason), 1, 3));
  if (m.stop_token && *m.stop_token < 0) return Bad("stop_token", "negative");
  RETURN_IF_ERROR(NotNegative("timings.first_grant", m.timings.first_grant));
  RETURN_IF_ERROR(NotNegative("timings.landed", m.timings.landed));
  RETURN_IF_ERROR(NotNegative("timings.first_token", m.timings.first_token));
  return NotNegative("timings.finished", m.timings.finished);
}

absl::Status Check(const TokenFrame& m) {
  RETURN_IF_ERROR(InRange<uint32_t>("first_index", m.first_index, 0, uint32_t{kMaxSequenceTokens}));
  RETURN_IF_ERROR(Tokens("tokens", m.tokens, kMaxTokensPerFrame));
  if (!m.logprobs.empty() && m.logprobs.size() != m.tokens.size()) {
    return Bad("logprobs", absl::StrCat(m.logprobs.size(), " for ", m.tokens.size(), " tokens"));
  }
  for (const OutputLogprobs& logprobs : m.logprobs) {
    RETURN_IF_ERROR(Under("logprobs", Check(logprobs)));
  }
  return m.finish ? Under("finish", Check(*m.finish)) : absl::OkStatus();
}

absl::Status Check(const FillLost& m) { return AtLeastOne("attempt", m.attempt); }

absl::Status Check(const JobEnded& m) {
  RETURN_IF_ERROR(AtLeastOne("attempt", m.attempt));
  RETURN_IF_ERROR(InRange<int>("result", static_cast<int>(m.result), 1, 5));
  RETURN_IF_ERROR(NotNegative("queued", m.queued));
  RETURN_IF_ERROR(NotNegative("computing", m.computing));
  return NotNegative("exposed", m.exposed);
}

absl::Status Check(const KvTerms& kv) {
  if (kv.model_fingerprint.empty()) return Bad("model_fingerprint", "empty");
  RETURN_IF_ERROR(Text("model_fingerprint", kv.model_fingerprint, kMaxNameBytes));
  RETURN_IF_ERROR(Text("numeric_profile", kv.numeric_profile, kMaxNameBytes));
  RETURN_IF_ERROR(InRange<uint32_t>("block_tokens", kv.block_tokens, 1, 1024));
  RETURN_IF_ERROR(InRange<uint32_t>("num_layers", kv.num_layers, 1, 65535));
  RETURN_IF_ERROR(InRange<uint32_t>("num_kv_heads", kv.num_kv_heads, 1, 65535));
  RETURN_IF_ERROR(InRange<uint32_t>("head_dim", kv.head_dim, 1, 65535));
  RETURN_IF_ERROR(Text("kv_type", kv.kv_type, kMaxNameBytes));
  RETURN_IF_ERROR(Text("layout", kv.layout, kMaxNameBytes));
  return Text("checksum", kv.checksum, kMaxNameBytes);
}

absl::Status Check(const WorkerHello& m) {
  RETURN_IF_ERROR(InRange<int>("role", static_cast<int>(m.role), 1, 2));
  RETURN_IF_ERROR(
      Under("handshake", WireVersions(m.handshake.wire_version, m.handshake.oldest_wire_version)));
  RETURN_IF_ERROR(Known("handshake.incarnation", m.handshake.incarnation));
  RETURN_IF_ERROR(Under("handshake.kv", Check(m.handshake.kv)));
  RETURN_IF_ERROR(Text("worker_name", m.worker_name, kMaxNameBytes));
  RETURN_IF_ERROR(Text("model_name", m.model_name, kMaxNameBytes));
  if (m.role == WorkerRole::kDecode && m.transfer_address.empty()) {
    return Bad("transfer_address", "empty");
  }
  RETURN_IF_ERROR(Text("transfer_address", m.transfer_address, kMaxAddressBytes));
  RETURN_IF_ERROR(AtLeastOne("max_model_len", m.max_model_len));
  RETURN_IF_ERROR(AtLeastOne("num_blocks", m.num_blocks));
  return AtLeastOne("max_sequences", m.max_sequences);
}

absl::Status Check(const WorkerHeartbeat& m) { return NotNegative("progress_age", m.progress_age); }

constexpr const char* kRouterMessageNames[] = {"router_hello", "generate",   "assign",   "cancel",
                                               "prefill_job",  "cancel_job", "heartbeat"};
constexpr const char* kWorkerMessageNames[] = {
    "worker_hello", "booked", "refused", "token_frame", "fill_lost", "job_ended", "heartbeat"};
static_assert(std::size(kRouterMessageNames) == std::variant_size_v<RouterToWorker>);
static_assert(std::size(kWorkerMessageNames) == std::variant_size_v<WorkerToRouter>);

}  // namespace

absl::Status Validate(const RouterToWorker& message) {
  return Under(kRouterMessageNames[message.index()],
               std::visit([](const auto& m) { return Check(m); }, message));
}

absl::Status Validate(const WorkerToRouter& message) {
  return Under(kWorkerMessageNames[message.index()],
               std::visit([](const auto& m) { return Check(m); }, message));
}

}  // namespace tandem
