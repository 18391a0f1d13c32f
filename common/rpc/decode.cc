// Protobuf to protocol structs. What does not fit the struct's types is refused here; all other
// rules are Validate's.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rpc/convert.h"
#include "common/rpc/tandem.pb.h"

namespace tandem {
namespace {

// Beyond any real duration, but far from overflow when added to an Instant. Negative ones are left
// to Validate.
Duration FromNanoseconds(int64_t ns) { return std::min(Duration(ns), kMaxWireDuration); }

// Enums become their number unless it would not fit; Validate knows the valid ones, and 0 never is.
template <class Enum>
Enum FromNumber(int number) {
  return number > 0 && number < 256 ? static_cast<Enum>(number) : Enum{};
}

// Of lanes alone no number is refused: see lane.h.
Lane LaneFromNumber(int number) {
  return number == v1::LANE_BULK ? Lane::kBulk : Lane::kInteractive;
}

std::vector<TokenId> Get(const google::protobuf::RepeatedField<int32_t>& tokens) {
  return {tokens.begin(), tokens.end()};
}

Nonce Get(const v1::Nonce& in) { return {.high = in.high(), .low = in.low()}; }

SamplingParams Get(const v1::SamplingParams& in) {
  return {.temperature = in.temperature(),
          .top_k = in.top_k(),
          .top_p = in.top_p(),
          .seed = in.seed(),
          .max_tokens = in.max_tokens(),
          .min_tokens = in.min_tokens(),
          .ignore_eos = in.ignore_eos(),
          .stop_token_ids = Get(in.stop_token_ids()),
          // A negative number on the wire is not "absent": let Validate see it.
          .top_logprobs = !in.has_top_logprobs()  ? -1
                          : in.top_logprobs() < 0 ? -2
                                                  : in.top_logprobs()};
}

template <class Message>
std::optional<FillAssignment> GetAssignment(const Message& message) {
  if (!message.has_assignment()) return std::nullopt;
  const v1::FillAssignment& in = message.assignment();
  return FillAssignment{.attempt = in.attempt(),
                        .nonce = Get(in.nonce()),
                        .prefill = Incarnation(in.prefill()),
                        .fallback_after = FromNanoseconds(in.fallback_after_ns())};
}

RouterHello Get(const v1::RouterHello& in) {
  return {.wire_version = in.wire_version(),
          .oldest_wire_version = in.oldest_wire_version(),
          .router_name = in.router_name()};
}

Generate Get(const v1::Generate& in) {
  return {.request = RequestId(in.request()),
          .trace_id = in.trace_id(),
          .epoch = in.epoch(),
          .prompt = Get(in.prompt()),
          .outputs = Get(in.outputs()),
          .sampling = Get(in.sampling()),
          .cache_salt = in.cache_salt(),
          .remaining = FromNanoseconds(in.remaining_ns()),
          .assignment = GetAssignment(in),
          .lane = LaneFromNumber(in.lane())};
}

Assign Get(const v1::Assign& in) {
  return {.request = RequestId(in.request()), .epoch = in.epoch(), .assignment = GetAssignment(in)};
}

Cancel Get(const v1::Cancel& in) {
  return {.request = RequestId(in.request()), .epoch = in.epoch()};
}

PrefillJob Get(const v1::PrefillJob& in) {
  return {.request = RequestId(in.request()),
          .trace_id = in.trace_id(),
          .epoch = in.epoch(),
          .attempt = in.attempt(),
          .nonce = Get(in.nonce()),
          .tokens = Get(in.tokens()),
          .cache_salt = in.cache_salt(),
          .decode_address = in.decode_address(),
          .decode = Incarnation(in.decode()),
          .remaining = FromNanoseconds(in.remaining_ns()),
          .lane = LaneFromNumber(in.lane())};
}

CancelJob Get(const v1::CancelJob& in) {
  return {.request = RequestId(in.request()), .epoch = in.epoch(), .attempt = in.attempt()};
}

Handshake Get(const v1::Handshake& in) {
  const v1::KvTerms& kv = in.kv();
  return {.wire_version = in.wire_version(),
          .oldest_wire_version = in.oldest_wire_version(),
          .incarnation = Incarnation(in.incarnation()),
          .kv = {.model_fingerprint = kv.model_fingerprint(),
                 .numeric_profile = kv.numeric_profile(),
                 .block_tokens = kv.block_tokens(),
                 .num_layers = kv.num_layers(),
                 .num_kv_heads = kv.num_kv_heads(),
                 .head_dim = kv.head_dim(),
                 .kv_type = kv.kv_type(),
                 .layout = kv.layout(),
                 .checksum = kv.checksum()}};
}

WorkerHello Get(const v1::WorkerHello& in) {
  return {.role = FromNumber<WorkerRole>(in.role()),
          .handshake = Get(in.handshake()),
          .worker_name = in.worker_name(),
          .model_name = in.model_name(),
          .transfer_address = in.transfer_address(),
          .max_model_len = in.max_model_len(),
          .num_blocks = in.num_blocks(),
          .max_sequences = in.max_sequences()};
}

Booked Get(const v1::Booked& in) {
  return {
      .request = RequestId(in.request()), .epoch = in.epoch(), .cached_tokens = in.cached_tokens()};
}

Refused Get(const v1::Refused& in) {
  return {.request = RequestId(in.request()),
          .epoch = in.epoch(),
          .reason = FromNumber<RefuseReason>(in.reason()),
          .message = in.message().substr(0, kMaxReasonBytes)};
}

TokenLogprob Get(const v1::TokenLogprob& in) {
  return {.token = in.token(), .logprob = in.logprob()};
}

Finish Get(const v1::Finish& in) {
  Finish finish{.reason = FromNumber<FinishReason>(in.reason()),
                .stop_token = std::nullopt,
                .error = in.error().substr(0, kMaxReasonBytes),
                .timings = {.first_grant = FromNanoseconds(in.timings().first_grant_ns()),
                            .landed = FromNanoseconds(in.timings().landed_ns()),
                            .first_token = FromNanoseconds(in.timings().first_token_ns()),
                            .finished = FromNanoseconds(in.timings().finished_ns()),
                            .cached_tokens = in.timings().cached_tokens(),
                            .pushed_tokens = in.timings().pushed_tokens(),
                            .computed_tokens = in.timings().computed_tokens()}};
  if (in.has_stop_token()) finish.stop_token = in.stop_token();
  return finish;
}

TokenFrame Get(const v1::TokenFrame& in) {
  TokenFrame frame{.request = RequestId(in.request()),
                   .choice = in.choice(),
                   .epoch = in.epoch(),
                   .first_index = in.first_index(),
                   .tokens = Get(in.tokens()),
                   .logprobs = {},
                   .finish = std::nullopt};
  for (const v1::OutputLogprobs& entry : in.logprobs()) {
    OutputLogprobs& logprobs = frame.logprobs.emplace_back();
    logprobs.chosen = Get(entry.chosen());
    for (const v1::TokenLogprob& top : entry.top()) logprobs.top.push_back(Get(top));
  }
  if (in.has_finish()) frame.finish = Get(in.finish());
  return frame;
}

FillLost Get(const v1::FillLost& in) {
  return {.request = RequestId(in.request()),
          .epoch = in.epoch(),
          .attempt = in.attempt(),
          .reason = in.reason().substr(0, kMaxReasonBytes),
          .filling_itself = in.filling_itself()};
}

JobEnded Get(const v1::JobEnded& in) {
  return {.request = RequestId(in.request()),
          .epoch = in.epoch(),
          .attempt = in.attempt(),
          .result = FromNumber<JobResult>(in.result()),
          .message = in.message().substr(0, kMaxReasonBytes),
          .cached_tokens = in.cached_tokens(),
          .computed_tokens = in.computed_tokens(),
          .pushed_bytes = in.pushed_bytes(),
          .queued = FromNanoseconds(in.queued_ns()),
          .computing = FromNanoseconds(in.computing_ns()),
          .exposed = FromNanoseconds(in.exposed_ns())};
}

WorkerHeartbeat Get(const v1::WorkerHeartbeat& in) {
  const v1::WorkerLoad& load = in.load();
  return {.progress_age = FromNanoseconds(in.progress_age_ns()),
          .draining = in.draining(),
          .load = {.total_blocks = load.total_blocks(),
                   .free_blocks = load.free_blocks(),
                   .booked_blocks = load.booked_blocks(),
                   .running = load.running(),
                   .waiting = load.waiting(),
                   .waiting_tokens = load.waiting_tokens()}};
}

absl::StatusOr<RouterToWorker> GetMessage(const v1::RouterMessage& message) {
  switch (message.kind_case()) {
    case v1::RouterMessage::kHello:
      return Get(message.hello());
    case v1::RouterMessage::kHeartbeat:
      return RouterHeartbeat{};
    case v1::RouterMessage::kGenerate:
      return Get(message.generate());
    case v1::RouterMessage::kAssign:
      return Get(message.assign());
    case v1::RouterMessage::kCancel:
      return Get(message.cancel());
    case v1::RouterMessage::kPrefillJob:
      return Get(message.prefill_job());
    case v1::RouterMessage::kCancelJob:
      return Get(message.cancel_job());
    case v1::RouterMessage::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("kind: none that this version knows");
}

absl::StatusOr<WorkerToRouter> GetMessage(const v1::WorkerMessage& message) {
  switch (message.kind_case()) {
    case v1::WorkerMessage::kHello:
      return Get(message.hello());
    case v1::WorkerMessage::kHeartbeat:
      return Get(message.heartbeat());
    case v1::WorkerMessage::kBooked:
      return Get(message.booked());
    case v1::WorkerMessage::kRefused:
      return Get(message.refused());
    case v1::WorkerMessage::kTokenFrame:
      return Get(message.token_frame());
    case v1::WorkerMessage::kFillLost:
      return Get(message.fill_lost());
    case v1::WorkerMessage::kJobEnded:
      return Get(message.job_ended());
    case v1::WorkerMessage::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("kind: none that this version knows");
}

template <class Message, class Frame>
absl::StatusOr<std::vector<Message>> DecodeAll(const Frame& frame) {
  if (frame.messages_size() > static_cast<int>(kMaxMessagesPerFrame)) {
    return absl::InvalidArgumentError(
        absl::StrCat("messages: ", frame.messages_size(), " are more than ", kMaxMessagesPerFrame));
  }
  std::vector<Message> messages;
  messages.reserve(frame.messages_size());
  for (int i = 0; i < frame.messages_size(); ++i) {
    absl::StatusOr<Message> message = GetMessage(frame.messages(i));
    const absl::Status status = message.ok() ? Validate(*message) : message.status();
    if (!status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("messages[", i, "].", status.message()));
    }
    messages.push_back(*std::move(message));
  }
  return messages;
}

template <class Message, class Frame>
absl::StatusOr<std::vector<Message>> ParseAll(absl::string_view bytes) {
  Frame frame;
  if (bytes.size() > kMaxFrameBytes) return absl::InvalidArgumentError("frame: too long");
  if (!frame.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::InvalidArgumentError("frame: not a message of this protocol");
  }
  return DecodeAll<Message>(frame);
}

}  // namespace

absl::StatusOr<std::vector<RouterToWorker>> DecodeFrame(const v1::RouterFrame& frame) {
  return DecodeAll<RouterToWorker>(frame);
}

absl::StatusOr<std::vector<WorkerToRouter>> DecodeFrame(const v1::WorkerFrame& frame) {
  return DecodeAll<WorkerToRouter>(frame);
}

absl::StatusOr<std::vector<RouterToWorker>> ParseRouterFrame(absl::string_view bytes) {
  return ParseAll<RouterToWorker, v1::RouterFrame>(bytes);
}

absl::StatusOr<std::vector<WorkerToRouter>> ParseWorkerFrame(absl::string_view bytes) {
  return ParseAll<WorkerToRouter, v1::WorkerFrame>(bytes);
}

}  // namespace tandem
