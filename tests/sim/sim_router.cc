#include "tests/sim/sim_router.h"

#include <algorithm>
#include <utility>

namespace tandem::sim {

SimRouter::SimRouter(SimWorld* world, const RouterCoreOptions& options, bool calm)
    : world_(world), calm_(calm), core_(options, [world] { return world->random.Next(); }) {}

void SimRouter::Submit(const ClientRequest& request, bool must_finish) {
  const Instant now = world_->queue.now();
  Stream& stream = streams_[request.id];
  stream.request = request;
  stream.must_finish = must_finish;
  stream.submitted = now;
  ++open_;
  world_->log.Note("client asks r", request.id.value(), ": ", request.prompt.size(), " tokens, ",
                   request.expected.tokens.size(), " expected");
  core_.Submit({.request = request.id,
                .trace_id = absl::StrCat("r", request.id.value()),
                .prompt = request.prompt,
                .sampling = request.sampling,
                .cache_salt = request.salt,
                .deadline = request.time_limit ? now + *request.time_limit : kNever,
                .lane = request.lane},
               now);
  if (request.leaves_after) {
    world_->queue.After(*request.leaves_after, [this, id = request.id] {
      Stream& s = streams_.at(id);
      if (s.ended) return;
      s.client_left = true;
      world_->log.Note("client of r", id.value(), " leaves");
      core_.ClientGone(id, world_->queue.now());
      After();
    });
  }
  After();
}

void SimRouter::OnWorkerMessages(uint32_t slot, std::vector<WorkerToRouter> messages) {
  const Instant now = world_->queue.now();
  for (const WorkerToRouter& message : messages) {
    const auto* frame = std::get_if<TokenFrame>(&message);
    if (frame != nullptr) source_ = Server{slot, frame->epoch};
    core_.OnMessage(WorkerIndex(slot), message, now);
    if (frame != nullptr) CarryOut();
    source_.reset();
  }
  After();
}

void SimRouter::OnSessionDown(uint32_t slot, absl::string_view reason) {
  core_.WorkerDown(WorkerIndex(slot), SessionEnd::kWorkerLost, reason, world_->queue.now());
  After();
}

void SimRouter::After() {
  const Instant now = world_->queue.now();
  if (core_.NextDeadline() <= now) core_.Tick(now);
  CarryOut();
  Wake(core_.NextDeadline());
}

void SimRouter::Wake(Instant when) {
  const Instant now = world_->queue.now();
  world_->oracle.Require(when > now, "router: the core has a deadline that passed already");
  if (when == kNever || when <= now || (wake_ > now && wake_ <= when)) return;
  wake_ = when;
  world_->queue.At(when, [this] { After(); });
}

void SimRouter::CarryOut() {
  std::map<uint32_t, std::vector<RouterToWorker>> outgoing;
  std::vector<std::pair<uint32_t, std::string>> closing;
  for (RouterEffect& effect : core_.TakeEffects()) {
    if (auto* e = std::get_if<SendToWorker>(&effect)) {
      if (const auto* generate = std::get_if<Generate>(&e->message)) {
        streams_.at(generate->request).server = Server{e->worker.value(), generate->epoch};
      }
      outgoing[e->worker.value()].push_back(std::move(e->message));
    } else if (auto* e = std::get_if<EmitTokens>(&effect)) {
      OnTokens(*e);
    } else if (auto* e = std::get_if<EndStream>(&effect)) {
      OnEnd(*e);
    } else if (auto* e = std::get_if<CloseSession>(&effect)) {
      outgoing.erase(e->worker.value());
      closing.emplace_back(e->worker.value(), std::move(e->reason));
    } else if (auto* e = std::get_if<LogFact>(&effect)) {
      world_->log.Note("router: ", e->trace_id, " ", e->text);
    }
  }
  for (auto& [slot, messages] : outgoing) sessions_->SendToWorker(slot, std::move(messages));
  for (const auto& [slot, reason] : closing) sessions_->EndByRouter(slot, reason);
}

void SimRouter::OnTokens(const EmitTokens& emit) {
  Stream& stream = streams_.at(emit.request);
  const ExpectedStream& expected = stream.request.expected;
  Oracle& oracle = world_->oracle;
  const uint64_t id = emit.request.value();
  oracle.Require(!stream.ended, "r", id, ": tokens after the end");
  oracle.Require(source_ && stream.server == source_, "r", id, ": tokens of worker ",
                 source_ ? source_->slot : 0, " epoch ", source_ ? source_->epoch : 0,
                 " were accepted, which is not the current one");
  oracle.Require(emit.first_index == stream.tokens.size(), "r", id, ": tokens from index ",
                 emit.first_index, " where ", stream.tokens.size(), " was due");
  for (size_t i = 0; i < emit.tokens.size(); ++i) {
    const size_t index = stream.tokens.size();
    if (index >= expected.tokens.size() || emit.tokens[i] != expected.tokens[index]) {
      return oracle.Fail("r", id, ": token ", index, " is ", emit.tokens[i],
                         ", not that of the undisturbed stream");
    }
    if (!expected.logprobs.empty() &&
        (i >= emit.logprobs.size() || !(emit.logprobs[i] == expected.logprobs[index]))) {
      return oracle.Fail("r", id, ": logprobs of token ", index, " differ");
    }
    stream.tokens.push_back(emit.tokens[i]);
  }
  const auto matches = stream.request.matches_after;
  if (!matches || stream.stop_matched || stream.tokens.size() < *matches) return;
  stream.stop_matched = true;
  world_->queue.After(world_->random.Between(Duration{}, std::chrono::milliseconds(2)),
                      [this, request = emit.request] {
                        core_.StopMatched(request, world_->queue.now());
                        After();
                      });
}

void SimRouter::OnEnd(const EndStream& end) {
  Stream& stream = streams_.at(end.request);
  Oracle& oracle = world_->oracle;
  const uint64_t id = end.request.value();
  const ExpectedStream& expected = stream.request.expected;
  oracle.Require(!stream.ended, "r", id, ": ended twice");
  stream.ended = true;
  --open_;
  world_->log.Note("r", id, " ends after ", stream.tokens.size(),
                   " tokens: ", end.error ? StreamErrorKindName(end.error->kind) : "finished",
                   end.error ? ": " + end.error->message : "");
  if (end.error) return CheckError(stream, *end.error);
  if (stream.stop_matched && stream.tokens.size() < expected.tokens.size()) return;
  if (stream.stop_matched && end.reason == FinishReason::kStop && !end.stop_token) return;
  oracle.Require(stream.tokens == expected.tokens, "r", id, ": ended after ", stream.tokens.size(),
                 " of ", expected.tokens.size(), " tokens");
  oracle.Require(end.reason == expected.reason && end.stop_token == expected.stop_token, "r", id,
                 ": the finish differs from the undisturbed one");
}

void SimRouter::CheckError(const Stream& stream, const StreamError& error) {
  const Instant now = world_->queue.now();
  const uint64_t id = stream.request.id.value();
  Oracle& oracle = world_->oracle;
  switch (error.kind) {
    case StreamErrorKind::kCancelled:
      return oracle.Require(stream.client_left, "r", id, ": cancelled, but its client is there");
    case StreamErrorKind::kDeadline:
      return oracle.Require(
          stream.request.time_limit && now >= stream.submitted + *stream.request.time_limit, "r",
          id, ": ended by a deadline that has not passed");
    case StreamErrorKind::kInvalid:
      return oracle.Fail("r", id, ": refused as invalid: ", error.message);
    default:
      return oracle.Require(!calm_ && !stream.must_finish, "r", id,
                            ": failed though nothing is wrong: ", error.message);
  }
}

std::string SimRouter::DescribeOpen() const {
  std::string text;
  for (const auto& [id, stream] : streams_) {
    if (stream.ended) continue;
    absl::StrAppend(&text, " r", id.value(), " (", stream.tokens.size(), " of ",
                    stream.request.expected.tokens.size(), " tokens)");
  }
  return text;
}

}  // namespace tandem::sim
