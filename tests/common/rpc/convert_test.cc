#include "common/rpc/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <tuple>
#include <variant>

#include "tests/common/rpc/message_samples.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

// Equality field by field. A structured binding must name every field, so a struct that grows stops
// the build here.
template <class T>
bool Same(const T& a, const T& b) {
  return a == b;
}
bool Same(const FillAssignment& a, const FillAssignment& b) {
  const auto tie = [](const FillAssignment& m) {
    const auto& [attempt, nonce, prefill, fallback] = m;
    return std::tie(attempt, nonce, prefill, fallback);
  };
  return tie(a) == tie(b);
}
bool Same(const std::optional<FillAssignment>& a, const std::optional<FillAssignment>& b) {
  return a.has_value() == b.has_value() && (!a || Same(*a, *b));
}
bool Same(const Generate& a, const Generate& b) {
  const auto tie = [](const Generate& m) {
    const auto& [request, trace, epoch, prompt, outputs, sampling, salt, remaining, assignment,
                 lane] = m;
    return std::tie(request, trace, epoch, prompt, outputs, sampling, salt, remaining, lane);
  };
  return tie(a) == tie(b) && Same(a.assignment, b.assignment);
}
bool Same(const Assign& a, const Assign& b) {
  const auto& [request, epoch, assignment] = a;
  return request == b.request && epoch == b.epoch && Same(assignment, b.assignment);
}
bool Same(const Cancel& a, const Cancel& b) {
  const auto& [request, epoch] = a;
  return request == b.request && epoch == b.epoch;
}
bool Same(const PrefillJob& a, const PrefillJob& b) {
  const auto tie = [](const PrefillJob& m) {
    const auto& [request, trace, epoch, attempt, nonce, tokens, salt, address, decode, remaining,
                 lane] = m;
    return std::tie(request, trace, epoch, attempt, nonce, tokens, salt, address, decode, remaining,
                    lane);
  };
  return tie(a) == tie(b);
}
bool Same(const CancelJob& a, const CancelJob& b) {
  const auto& [request, epoch, attempt] = a;
  return request == b.request && epoch == b.epoch && attempt == b.attempt;
}
bool Same(const RouterHello& a, const RouterHello& b) {
  const auto& [version, oldest, name] = a;
  return version == b.wire_version && oldest == b.oldest_wire_version && name == b.router_name;
}
bool Same(const RouterHeartbeat&, const RouterHeartbeat&) { return true; }
bool Same(const Handshake& a, const Handshake& b) {
  const auto& [version, oldest, incarnation, kv] = a;
  return version == b.wire_version && oldest == b.oldest_wire_version &&
         incarnation == b.incarnation && kv == b.kv;
}
bool Same(const WorkerHello& a, const WorkerHello& b) {
  const auto tie = [](const WorkerHello& m) {
    const auto& [role, handshake, name, model, address, max_len, blocks, sequences] = m;
    return std::tie(role, name, model, address, max_len, blocks, sequences);
  };
  return tie(a) == tie(b) && Same(a.handshake, b.handshake);
}
bool Same(const Booked& a, const Booked& b) {
  const auto& [request, epoch, cached] = a;
  return request == b.request && epoch == b.epoch && cached == b.cached_tokens;
}
bool Same(const Refused& a, const Refused& b) {
  const auto& [request, epoch, reason, message] = a;
  return request == b.request && epoch == b.epoch && reason == b.reason && message == b.message;
}
bool Same(const Finish& a, const Finish& b) {
  const auto tie = [](const Finish& m) {
    const auto& [reason, stop, error, timings] = m;
    const auto& [grant, landed, first, finished, cached, pushed, computed] = timings;
    return std::tie(reason, stop, error, grant, landed, first, finished, cached, pushed, computed);
  };
  return tie(a) == tie(b);
}
bool Same(const TokenFrame& a, const TokenFrame& b) {
  const auto tie = [](const TokenFrame& m) {
    const auto& [request, choice, epoch, first, tokens, logprobs, finish] = m;
    return std::tie(request, choice, epoch, first, tokens, logprobs);
  };
  return tie(a) == tie(b) && a.finish.has_value() == b.finish.has_value() &&
         (!a.finish || Same(*a.finish, *b.finish));
}
bool Same(const FillLost& a, const FillLost& b) {
  const auto& [request, epoch, attempt, reason, itself] = a;
  return request == b.request && epoch == b.epoch && attempt == b.attempt && reason == b.reason &&
         itself == b.filling_itself;
}
bool Same(const JobEnded& a, const JobEnded& b) {
  const auto tie = [](const JobEnded& m) {
    const auto& [request, epoch, attempt, result, message, cached, computed, bytes, queued,
                 computing, exposed] = m;
    return std::tie(request, epoch, attempt, result, message, cached, computed, bytes, queued,
                    computing, exposed);
  };
  return tie(a) == tie(b);
}
bool Same(const WorkerHeartbeat& a, const WorkerHeartbeat& b) {
  const auto tie = [](const WorkerHeartbeat& m) {
    const auto& [age, draining, load] = m;
    const auto& [total, free, booked, running, waiting, tokens] = load;
    return std::tie(age, draining, total, free, booked, running, waiting, tokens);
  };
  return tie(a) == tie(b);
}
template <class... Kinds>
bool SameMessage(const std::variant<Kinds...>& a, const std::variant<Kinds...>& b) {
  if (a.index() != b.index()) return false;
  return std::visit([&](const auto& m) { return Same(m, std::get<std::decay_t<decltype(m)>>(b)); },
                    a);
}

TEST(ConvertTest, EveryRouterMessageSurvivesTheWire) {
  const auto sent = SampleRouterMessages();
  ASSERT_THAT(sent, SizeIs(std::variant_size_v<RouterToWorker>));
  const auto received = ParseRouterFrame(SerializeFrame(sent));
  ASSERT_TRUE(received.ok()) << received.status();
  ASSERT_THAT(*received, SizeIs(sent.size()));
  for (size_t i = 0; i < sent.size(); ++i) EXPECT_TRUE(SameMessage(sent[i], (*received)[i])) << i;
}

TEST(ConvertTest, EveryWorkerMessageSurvivesTheWire) {
  const auto sent = SampleWorkerMessages();
  ASSERT_THAT(sent, SizeIs(std::variant_size_v<WorkerToRouter>));
  const auto received = ParseWorkerFrame(SerializeFrame(sent));
  ASSERT_TRUE(received.ok()) << received.status();
  ASSERT_THAT(*received, SizeIs(sent.size()));
  for (size_t i = 0; i < sent.size(); ++i) EXPECT_TRUE(SameMessage(sent[i], (*received)[i])) << i;
}

TEST(ConvertTest, AbsentOptionalsStayAbsent) {
  Generate generate = SampleGenerate();
  generate.assignment.reset();
  generate.sampling.top_logprobs = -1;
  TokenFrame frame = SampleTokenFrame();
  frame.finish->stop_token.reset();
  const auto down = ParseRouterFrame(SerializeFrame(std::vector<RouterToWorker>{generate}));
  const auto up = ParseWorkerFrame(SerializeFrame(std::vector<WorkerToRouter>{frame}));
  ASSERT_TRUE(down.ok() && up.ok());
  EXPECT_TRUE(SameMessage(RouterToWorker(generate), (*down)[0]));
  EXPECT_TRUE(SameMessage(WorkerToRouter(frame), (*up)[0]));
}

// What a router sends that does not know lanes.
TEST(ConvertTest, AbsentLaneIsTheInteractiveOne) {
  Generate generate = SampleGenerate();
  const std::string bulk = SerializeFrame(std::vector<RouterToWorker>{generate});
  generate.lane = Lane::kInteractive;
  const std::string bytes = SerializeFrame(std::vector<RouterToWorker>{generate});
  EXPECT_EQ(bytes.size(), bulk.size() - 2);  // the field is not there
  const auto received = ParseRouterFrame(bytes);
  ASSERT_TRUE(received.ok()) << received.status();
  EXPECT_EQ(std::get<Generate>((*received)[0]).lane, Lane::kInteractive);
}

// What a later router may send.
TEST(ConvertTest, UnknownLaneIsTheInteractiveOne) {
  Generate generate = SampleGenerate();
  PrefillJob job = SamplePrefillJob();
  for (const int lane : {2, 255}) {
    generate.lane = job.lane = static_cast<Lane>(lane);
    const auto received =
        ParseRouterFrame(SerializeFrame(std::vector<RouterToWorker>{generate, job}));
    ASSERT_TRUE(received.ok()) << received.status();
    EXPECT_EQ(std::get<Generate>((*received)[0]).lane, Lane::kInteractive);
    EXPECT_EQ(std::get<PrefillJob>((*received)[1]).lane, Lane::kInteractive);
  }
}

TEST(ConvertTest, LongReasonsAreCutAndEndlessDurationsBounded) {
  JobEnded ended = std::get<JobEnded>(SampleWorkerMessages()[5]);
  ended.message = std::string(100000, 'x');
  ended.queued = Duration::max();
  const auto got = ParseWorkerFrame(SerializeFrame(std::vector<WorkerToRouter>{ended}));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_THAT(std::get<JobEnded>((*got)[0]).message, SizeIs(kMaxReasonBytes));
  EXPECT_EQ(std::get<JobEnded>((*got)[0]).queued, kMaxWireDuration);
}

TEST(ConvertTest, ImpossibleTokensTravelAsTheLogprobFloor) {
  TokenFrame frame = SampleTokenFrame();
  frame.logprobs[0].top[1].logprob = -std::numeric_limits<float>::infinity();
  const auto got = ParseWorkerFrame(SerializeFrame(std::vector<WorkerToRouter>{frame}));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(std::get<TokenFrame>((*got)[0]).logprobs[0].top[1].logprob, kMinWireLogprob);
}

TEST(ConvertTest, BytesThatAreNoFrameAreRefused) {
  EXPECT_THAT(std::string(ParseRouterFrame("\xff\xff\xff").status().message()),
              HasSubstr("not a message of this protocol"));
}

TEST(ConvertTest, UnknownKindIsRefusedByItsPosition) {
  std::string bytes = SerializeFrame(std::vector<RouterToWorker>{RouterHeartbeat{}});
  bytes += std::string("\x0a\x00", 2);  // an empty second message
  EXPECT_THAT(std::string(ParseRouterFrame(bytes).status().message()),
              HasSubstr("messages[1].kind"));
}

TEST(ConvertTest, TooManyMessagesAreRefused) {
  std::string bytes;
  for (size_t i = 0; i <= kMaxMessagesPerFrame; ++i) bytes += std::string("\x0a\x00", 2);
  EXPECT_THAT(std::string(ParseWorkerFrame(bytes).status().message()), HasSubstr("more than 4096"));
}

TEST(ConvertTest, EstimateIsAtLeastHalfOfTheTruth) {
  for (const auto& message : SampleRouterMessages()) {
    EXPECT_LE(SerializeFrame(std::vector{message}).size(), 2 * EstimatedBytes(message));
  }
  for (const auto& message : SampleWorkerMessages()) {
    EXPECT_LE(SerializeFrame(std::vector{message}).size(), 2 * EstimatedBytes(message));
  }
  Generate large = SampleGenerate();
  large.prompt.assign(100000, std::numeric_limits<TokenId>::max());
  EXPECT_LE(SerializeFrame(std::vector<RouterToWorker>{large}).size(), 2 * EstimatedBytes(large));
}

// Each rule: a message that breaks just this one is refused, by name, when asked before sending and
// on arrival alike.
template <class Kind>
struct BrokenRule {
  const char* field;
  std::function<void(Kind*)> break_it;
};

template <class Variant, class Kind>
void ExpectRefused(const Kind& sound, const std::vector<BrokenRule<Kind>>& rules) {
  ASSERT_TRUE(Validate(Variant(sound)).ok()) << Validate(Variant(sound));
  for (const auto& rule : rules) {
    Kind broken = sound;
    rule.break_it(&broken);
    const absl::Status status = Validate(Variant(broken));
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << rule.field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(rule.field));
  }
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(ValidateTest, GenerateRules) {
  ExpectRefused<RouterToWorker, Generate>(
      SampleGenerate(),
      {{"generate.prompt: empty", [](Generate* m) { m->prompt.clear(); }},
       {"generate.prompt: token -1 at 1", [](Generate* m) { m->prompt[1] = -1; }},
       {"generate.prompt: 1048577", [](Generate* m) { m->prompt.resize(kMaxSequenceTokens + 1); }},
       {"generate.outputs", [](Generate* m) { m->outputs[0] = -5; }},
       {"generate.trace_id", [](Generate* m) { m->trace_id.resize(kMaxNameBytes + 1); }},
       {"generate.cache_salt", [](Generate* m) { m->cache_salt.resize(kMaxNameBytes + 1); }},
       {"generate.remaining: negative", [](Generate* m) { m->remaining = Ms(-1); }},
       {"generate.lane: 2 is no lane", [](Generate* m) { m->lane = static_cast<Lane>(2); }},
       {"sampling.temperature", [](Generate* m) { m->sampling.temperature = -0.1f; }},
       {"sampling.temperature", [](Generate* m) { m->sampling.temperature = kNan; }},
       {"sampling.temperature", [](Generate* m) { m->sampling.temperature = kInfinity; }},
       {"sampling.top_k", [](Generate* m) { m->sampling.top_k = -1; }},
       {"sampling.top_p", [](Generate* m) { m->sampling.top_p = 0; }},
       {"sampling.top_p", [](Generate* m) { m->sampling.top_p = kNan; }},
       {"sampling.top_p", [](Generate* m) { m->sampling.top_p = 1.1f; }},
       {"sampling.max_tokens", [](Generate* m) { m->sampling.max_tokens = 0; }},
       {"sampling.min_tokens", [](Generate* m) { m->sampling.min_tokens = 129; }},
       {"sampling.stop_token_ids", [](Generate* m) { m->sampling.stop_token_ids.resize(2000); }},
       {"sampling.top_logprobs", [](Generate* m) { m->sampling.top_logprobs = 129; }},
       {"sampling.top_logprobs", [](Generate* m) { m->sampling.top_logprobs = -2; }},
       {"assignment.attempt", [](Generate* m) { m->assignment->attempt = 0; }},
       {"assignment.nonce", [](Generate* m) { m->assignment->nonce = {}; }},
       {"assignment.prefill", [](Generate* m) { m->assignment->prefill = Incarnation(0); }},
       {"assignment.fallback_after", [](Generate* m) { m->assignment->fallback_after = Ms(-1); }}});
}

TEST(ValidateTest, PrefillJobRules) {
  ExpectRefused<RouterToWorker, PrefillJob>(
      SamplePrefillJob(),
      {{"prefill_job.tokens: empty", [](PrefillJob* m) { m->tokens.clear(); }},
       {"prefill_job.tokens", [](PrefillJob* m) { m->tokens[0] = -1; }},
       {"prefill_job.attempt", [](PrefillJob* m) { m->attempt = 0; }},
       {"prefill_job.nonce", [](PrefillJob* m) { m->nonce = {}; }},
       {"prefill_job.decode_address", [](PrefillJob* m) { m->decode_address.clear(); }},
       {"prefill_job.decode_address",
        [](PrefillJob* m) { m->decode_address.resize(kMaxAddressBytes + 1); }},
       {"prefill_job.decode", [](PrefillJob* m) { m->decode = Incarnation(0); }},
       {"prefill_job.remaining", [](PrefillJob* m) { m->remaining = Ms(-1); }},
       {"prefill_job.lane", [](PrefillJob* m) { m->lane = static_cast<Lane>(9); }}});
}

TEST(ValidateTest, WorkerHelloRules) {
  WorkerHello sound = SampleWorkerHello();
  sound.role = WorkerRole::kDecode;
  ExpectRefused<WorkerToRouter, WorkerHello>(
      sound,
      {{"worker_hello.role", [](WorkerHello* m) { m->role = WorkerRole{}; }},
       {"worker_hello.role", [](WorkerHello* m) { m->role = static_cast<WorkerRole>(9); }},
       {"handshake.oldest_wire_version",
        [](WorkerHello* m) { m->handshake.oldest_wire_version = 9; }},
       {"handshake.incarnation", [](WorkerHello* m) { m->handshake.incarnation = {}; }},
       {"kv.model_fingerprint", [](WorkerHello* m) { m->handshake.kv.model_fingerprint = ""; }},
       {"kv.block_tokens", [](WorkerHello* m) { m->handshake.kv.block_tokens = 0; }},
       {"kv.num_layers", [](WorkerHello* m) { m->handshake.kv.num_layers = 1u << 20; }},
       {"worker_hello.transfer_address", [](WorkerHello* m) { m->transfer_address = ""; }},
       {"worker_hello.worker_name", [](WorkerHello* m) { m->worker_name.resize(5000); }},
       {"worker_hello.max_model_len", [](WorkerHello* m) { m->max_model_len = 0; }},
       {"worker_hello.num_blocks", [](WorkerHello* m) { m->num_blocks = 0; }},
       {"worker_hello.max_sequences", [](WorkerHello* m) { m->max_sequences = 0; }}});
}

TEST(ValidateTest, TokenFrameRules) {
  ExpectRefused<WorkerToRouter, TokenFrame>(
      SampleTokenFrame(),
      {{"token_frame.tokens", [](TokenFrame* m) { m->tokens[0] = -1; }},
       {"token_frame.tokens", [](TokenFrame* m) { m->tokens.resize(kMaxTokensPerFrame + 1); }},
       {"token_frame.logprobs: 1 for 2", [](TokenFrame* m) { m->logprobs.pop_back(); }},
       {"logprobs.chosen.logprob", [](TokenFrame* m) { m->logprobs[0].chosen.logprob = kNan; }},
       {"logprobs.top.logprob", [](TokenFrame* m) { m->logprobs[0].top[0].logprob = kInfinity; }},
       {"logprobs.top.token", [](TokenFrame* m) { m->logprobs[0].top[0].token = -1; }},
       {"logprobs.top", [](TokenFrame* m) { m->logprobs[0].top.resize(200); }},
       {"token_frame.first_index", [](TokenFrame* m) { m->first_index = 1u << 30; }},
       {"finish.reason", [](TokenFrame* m) { m->finish->reason = FinishReason{}; }},
       {"finish.stop_token", [](TokenFrame* m) { m->finish->stop_token = -1; }},
       {"finish.timings.landed", [](TokenFrame* m) { m->finish->timings.landed = Ms(-1); }}});
}

TEST(ValidateTest, OtherRules) {
  ExpectRefused<WorkerToRouter, Refused>(
      {.request = RequestId(1), .epoch = 1, .reason = RefuseReason::kTooLong, .message = ""},
      {{"refused.reason", [](Refused* m) { m->reason = static_cast<RefuseReason>(6); }}});
  ExpectRefused<WorkerToRouter, JobEnded>(
      std::get<JobEnded>(SampleWorkerMessages()[5]),
      {{"job_ended.result", [](JobEnded* m) { m->result = JobResult{}; }},
       {"job_ended.attempt", [](JobEnded* m) { m->attempt = 0; }},
       {"job_ended.exposed", [](JobEnded* m) { m->exposed = Ms(-1); }}});
  ExpectRefused<WorkerToRouter, WorkerHeartbeat>(
      {}, {{"heartbeat.progress_age", [](WorkerHeartbeat* m) { m->progress_age = Ms(-1); }}});
  ExpectRefused<RouterToWorker, CancelJob>(
      {.request = RequestId(1), .epoch = 1, .attempt = 1},
      {{"cancel_job.attempt", [](CancelJob* m) { m->attempt = 0; }}});
  ExpectRefused<RouterToWorker, RouterHello>(
      {},
      {{"router_hello.oldest_wire_version", [](RouterHello* m) { m->oldest_wire_version = 0; }}});
}

}  // namespace
}  // namespace tandem
