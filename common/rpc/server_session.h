// ServerSession: one router's stream at a worker, from its opening to its end. Used by
// session_server.cc only.
#pragma once

#include <grpcpp/server_context.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/rpc/convert.h"
#include "common/rpc/grpc_setup.h"
#include "common/rpc/read_gate.h"
#include "common/rpc/session_hello.h"
#include "common/rpc/session_limits.h"
#include "common/rpc/session_server.h"
#include "common/rpc/session_writer.h"
#include "common/rpc/tandem.grpc.pb.h"

namespace tandem {

// How many sessions are backlogged. Thread-safe.
class Backlogs {
 public:
  explicit Backlogs(SessionSink* sink) : sink_(sink) {}
  void Change(bool backlogged) {
    if (backlogged) {
      ++count_;
    } else if (count_.fetch_sub(1) == 1) {
      sink_->OnBacklogCleared();
    }
  }
  bool any() const { return count_ > 0; }

 private:
  SessionSink* const sink_;
  std::atomic<int> count_{0};
};

// One router's stream. Holds itself alive until gRPC is done with it; others keep it by shared_ptr.
// Reads and the sink's calls happen on one gRPC thread at a time, writes on whichever thread was
// given the step.
class ServerSession : public grpc::ServerBidiReactor<v1::RouterFrame, v1::WorkerFrame> {
 public:
  using OnDoneFunction = std::function<void(SessionId)>;

  ServerSession(SessionId id, grpc::CallbackServerContext* context, const SessionLimits& limits,
                SessionSink* sink, Backlogs* backlogs, OnDoneFunction on_done)
      : id_(id),
        limits_(limits),
        sink_(sink),
        on_done_(std::move(on_done)),
        writer_(limits,
                [this, backlogs](bool backlogged) {
                  if (backlogged) backlog_began_ = SystemClock().Now();
                  backlogs->Change(backlogged);
                }),
        context_(context),
        heard_(SystemClock().Now()),
        gate_(std::make_shared<ReadGate>(limits.max_unhandled_frames, [this] {
          heard_ = SystemClock().Now();  // nobody listened before
          StartRead(&incoming_);
        })) {}

  static void Open(const std::shared_ptr<ServerSession>& session, const WorkerHello& hello) {
    session->self_ = session;
    session->Do(session->writer_.Add({hello}).step);
    session->gate_->ReadOn();
  }

  absl::Status Send(std::vector<WorkerToRouter> messages) {
    auto added = writer_.Add(std::move(messages));
    if (absl::IsResourceExhausted(added.status)) EndNow(added.status);
    Do(added.step);
    return added.status;
  }

  // Politely: after the write in flight the router is told the reason. The timer cuts what takes
  // too long.
  void End(const absl::Status& reason) {
    if (!writer_.ended()) ended_at_ = SystemClock().Now();
    Do(writer_.End(reason).step);
  }

  bool all_written() const { return writer_.all_written(); }

  // Returns when to look again.
  Instant CheckTime(Instant now) {
    if (writer_.ended()) {
      const Instant cut_at = ended_at_.load() + limits_.shutdown_limit;
      if (now < cut_at) return cut_at;
      Cut();
      return now + limits_.shutdown_limit;
    }
    // Not since the last write: a router that reads a little now and then would halt the worker,
    // and with it the streams of all other routers, for ever.
    const Instant too_slow_at =
        writer_.backlogged() ? backlog_began_.load() + limits_.silence_limit : kNever;
    const Instant silent_at = (gate_->waits() ? now : heard_.load()) + limits_.silence_limit;
    if (now < std::min(too_slow_at, silent_at)) return std::min(too_slow_at, silent_at);
    EndNow(absl::DeadlineExceededError(now < silent_at
                                           ? "the router did not catch up with what waits for it"
                                           : "the router fell silent"));
    return now + limits_.shutdown_limit;
  }

  // Without waiting for the peer in any way. The reason first: cutting fails the read, which would
  // name another.
  void EndNow(const absl::Status& reason) {
    End(reason);
    Cut();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return End(absl::UnavailableError("the router closed the session or is gone"));
    heard_ = SystemClock().Now();
    if (writer_.ended()) return;
    if (const absl::Status status = Receive(); !status.ok()) return End(status);
    gate_->ReadOn();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) End(absl::UnavailableError("the connection to the router broke"));
    Do(writer_.WriteDone());
  }

  void OnCancel() override { End(absl::CancelledError("the router cancelled the session")); }

  void OnDone() override {
    {
      MutexLock lock(&context_mutex_);
      context_ = nullptr;
    }
    if (opened_) sink_->OnClosed(id_, writer_.reason());
    const std::shared_ptr<ServerSession> self = std::move(self_);  // until the last line has run
    on_done_(id_);
  }

 private:
  absl::Status Receive() {
    ASSIGN_OR_RETURN(std::vector<RouterToWorker> messages, DecodeFrame(incoming_));
    if (!opened_) {
      ASSIGN_OR_RETURN(const RouterHello hello, TakeHello<RouterHello>(&messages));
      RETURN_IF_ERROR(CheckWireVersions(hello.wire_version, hello.oldest_wire_version));
      opened_ = true;
      sink_->OnOpened(id_, hello);
    }
    RETURN_IF_ERROR(CheckNoHello<RouterHello>(messages));
    if (!messages.empty()) sink_->OnMessages(id_, std::move(messages), gate_->TakeCredit());
    return absl::OkStatus();
  }

  void Do(WriterStep step) {
    if (step == WriterStep::kWrite) StartWrite(&writer_.frame());
    if (step != WriterStep::kClose) return;
    gate_->Close();
    Finish(ToGrpc(writer_.reason()));
  }

  void Cut() {
    MutexLock lock(&context_mutex_);
    if (context_ != nullptr) context_->TryCancel();
  }

  const SessionId id_;
  const SessionLimits limits_;
  SessionSink* const sink_;
  const OnDoneFunction on_done_;
  SessionWriter<WorkerToRouter, v1::WorkerFrame> writer_;
  v1::RouterFrame incoming_;
  bool opened_ = false;
  std::shared_ptr<ServerSession> self_;
  Mutex context_mutex_;
  grpc::CallbackServerContext* context_ ABSL_GUARDED_BY(context_mutex_);  // null once done
  std::atomic<Instant> heard_;
  std::atomic<Instant> backlog_began_{Instant{}};  // the latest one
  std::atomic<Instant> ended_at_{Instant{}};
  const std::shared_ptr<ReadGate> gate_;
};

}  // namespace tandem
