// ClientSession: one attempt of a router to talk to a worker. Used by session_client.cc only.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/rpc/convert.h"
#include "common/rpc/grpc_setup.h"
#include "common/rpc/read_gate.h"
#include "common/rpc/session_client.h"
#include "common/rpc/session_hello.h"
#include "common/rpc/session_limits.h"
#include "common/rpc/session_writer.h"
#include "common/rpc/tandem.grpc.pb.h"

namespace tandem {

// One attempt to talk to one worker: connection, stream and all. Holds itself alive until gRPC is
// done with it. Reads and the sink's calls happen on one gRPC thread at a time, writes on whichever
// thread was given the step.
class ClientSession : public grpc::ClientBidiReactor<v1::RouterFrame, v1::WorkerFrame> {
 public:
  using OnDoneFunction = std::function<void(const ClientSession&)>;

  ClientSession(size_t worker, const std::string& address, const SessionLimits& limits,
                SessionClientSink* sink, OnDoneFunction on_done)
      : worker_(worker),
        limits_(limits),
        sink_(sink),
        on_done_(std::move(on_done)),
        writer_(limits),
        heard_(SystemClock().Now()),
        gate_(std::make_shared<ReadGate>(limits.max_unhandled_frames, [this] {
          heard_ = SystemClock().Now();  // nobody listened before
          StartRead(&incoming_);
        })) {
    grpc::ChannelArguments arguments;
    for (const auto& [name, value] : SessionChannelArguments()) arguments.SetInt(name, value);
    stub_ = v1::Worker::NewStub(
        grpc::CreateCustomChannel(address, SessionChannelCredentials(), arguments));
  }

  static void Open(const std::shared_ptr<ClientSession>& session, const RouterHello& hello) {
    session->self_ = session;
    session->stub_->async()->Session(&session->context_, session.get());
    session->AddHold();  // until nothing can start any more: both come from outside of reactions
    session->gate_->ReadOn();
    session->Do(session->writer_.Add({hello}).step);
    session->StartCall();
  }

  absl::Status Send(std::vector<RouterToWorker> messages) {
    if (!up_) return absl::UnavailableError("the worker is not up");
    auto added = writer_.Add(std::move(messages));
    if (absl::IsResourceExhausted(added.status)) End(added.status);
    Do(added.step);
    return absl::IsNotFound(added.status) ? absl::UnavailableError("the worker is not up")
                                          : added.status;
  }

  // By our decision. False: it had ended before.
  bool End(const absl::Status& reason) {
    const auto ended = writer_.End(reason);
    if (ended.first) {
      cancelled_ = true;
      context_.TryCancel();
    }
    Do(ended.step);
    return ended.first;
  }

  // Returns when to look again.
  Instant CheckTime(Instant now) {
    if (writer_.ended()) return kNever;
    if (gate_->waits()) return now + limits_.silence_limit;
    const Instant silent_at = heard_.load() + limits_.silence_limit;
    if (now < silent_at) return silent_at;
    End(absl::DeadlineExceededError(up_ ? "the worker fell silent" : "the worker did not answer"));
    return kNever;
  }

  bool was_up() const { return up_; }
  bool backlogged() const { return writer_.backlogged(); }
  bool listening() const { return !gate_->waits(); }
  size_t worker() const { return worker_; }

  void OnReadDone(bool ok) override {
    if (!ok) return LetGo();
    heard_ = SystemClock().Now();
    // What a worker sent before it ended the stream counts, though a write may have failed since.
    if (!cancelled_ && !invalid_) {
      const absl::Status status = Receive();
      invalid_ = !status.ok();
      if (invalid_ && End(status)) return;
      if (!invalid_ && gate_->ReadOn()) return;
    }
    StartRead(&incoming_);  // an ended stream too, to its end: gRPC tells its status no sooner
  }

  void OnWriteDone(bool ok) override {
    if (!ok) LetGo();
    Do(writer_.WriteDone());
  }

  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<ClientSession> self = std::move(self_);  // until the last line has run
    // The server's word is better than our guess, unless it only echoes our cancel.
    done_reason_ = cancelled_ || status.ok() ? writer_.reason() : FromGrpc(status);
    // A lost connection is UNAVAILABLE. The server's reason does not come through when it cuts.
    if (!cancelled_ && status.error_code() == grpc::StatusCode::CANCELLED) {
      done_reason_ = absl::AbortedError("the worker cut off this router, too slow or silent");
    }
    if (up_) sink_->OnDown(worker_, done_reason_);
    on_done_(*this);
  }

  absl::Status done_reason() const { return done_reason_; }

 private:
  absl::Status Receive() {
    ASSIGN_OR_RETURN(std::vector<WorkerToRouter> messages, DecodeFrame(incoming_));
    if (!up_) {
      ASSIGN_OR_RETURN(const WorkerHello hello, TakeHello<WorkerHello>(&messages));
      RETURN_IF_ERROR(
          CheckWireVersions(hello.handshake.wire_version, hello.handshake.oldest_wire_version));
      up_ = true;
      sink_->OnUp(worker_, hello);
    }
    RETURN_IF_ERROR(CheckNoHello<WorkerHello>(messages));
    if (!messages.empty()) sink_->OnMessages(worker_, std::move(messages), gate_->TakeCredit());
    return absl::OkStatus();
  }

  // The stream has ended by itself; its status comes with OnDone and must not be overwritten by a
  // cancel.
  void LetGo() { Do(writer_.End(absl::UnavailableError("the worker closed the session")).step); }

  void Do(WriterStep step) {
    if (step == WriterStep::kWrite) StartWrite(&writer_.frame());
    if (step != WriterStep::kClose) return;
    if (gate_->Close()) StartRead(&incoming_);  // see OnReadDone
    RemoveHold();
  }

  const size_t worker_;
  const SessionLimits limits_;
  SessionClientSink* const sink_;
  const OnDoneFunction on_done_;
  SessionWriter<RouterToWorker, v1::RouterFrame> writer_;
  std::unique_ptr<v1::Worker::Stub> stub_;
  grpc::ClientContext context_;
  v1::WorkerFrame incoming_;
  bool invalid_ = false;                // a frame was: what follows it is not looked at
  std::atomic<bool> cancelled_{false};  // we ended it, not the worker or the network
  absl::Status done_reason_;            // set by OnDone
  std::shared_ptr<ClientSession> self_;
  std::atomic<bool> up_{false};
  std::atomic<Instant> heard_;
  const std::shared_ptr<ReadGate> gate_;
};

}  // namespace tandem
