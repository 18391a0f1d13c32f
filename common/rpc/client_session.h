// ClientSession: one attempt of a router to talk to a worker. Used by session_client.cc only.
#pragma once

#include <google/protobuf/arena.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
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
// done with it. The sink is called on the reader, the one thread that takes operations that are
// over out of the completion queue. A write is started by whichever thread was given the step, a
// read by the reader, or by whichever lets a credit go or ends the session.
//
// Frames come as bytes and are parsed here: gRPC reports a frame that it cannot parse as the end of
// the stream, whose status would then be waited for in vain.
class ClientSession {
 public:
  using OnDoneFunction = std::function<void(const ClientSession&)>;

  // The tag of an operation in the completion queue. At most one of each kind is under way.
  class Operation {
   public:
    Operation(ClientSession* session, void (ClientSession::*on_over)(bool ok))
        : session_(session), on_over_(on_over) {}
    // May destroy this.
    void Over(bool ok) { (session_->*on_over_)(ok); }

   private:
    ClientSession* const session_;
    void (ClientSession::*const on_over_)(bool ok);
  };

  ClientSession(size_t worker, const std::string& address, const RouterHello& hello,
                const SessionLimits& limits, SessionClientSink* sink, OnDoneFunction on_done)
      : worker_(worker),
        hello_(hello),
        limits_(limits),
        sink_(sink),
        on_done_(std::move(on_done)),
        channel_(NewChannel(address)),
        writer_(limits),
        heard_(SystemClock().Now()),
        gate_(std::make_shared<ReadGate>(limits.max_unhandled_frames, [this] {
          heard_ = SystemClock().Now();  // nobody listened before
          Read();
        })) {}

  // `events` outlives the session and is not shut down before it is done.
  static void Open(const std::shared_ptr<ClientSession>& session, grpc::CompletionQueue* events) {
    session->self_ = session;
    // gRPC's name for what prepares calls by the name of their method.
    grpc::TemplatedGenericStub<v1::RouterFrame, grpc::ByteBuffer> calls(session->channel_);
    session->stream_ = calls.PrepareCall(
        &session->context_, absl::StrCat("/", v1::Worker::service_full_name(), "/Session"), events);
    session->stream_->StartCall(&session->start_);
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

  absl::Status done_reason() const { return done_reason_; }

 private:
  using Stream = grpc::ClientAsyncReaderWriter<v1::RouterFrame, grpc::ByteBuffer>;

  static std::shared_ptr<grpc::Channel> NewChannel(const std::string& address) {
    grpc::ChannelArguments arguments;
    for (const auto& [name, value] : SessionChannelArguments()) arguments.SetInt(name, value);
    return grpc::CreateCustomChannel(address, SessionChannelCredentials(), arguments);
  }

  // Whether the call could be started or not: what comes after tells. No write may be under way
  // before, for the stream keeps it where it keeps the start.
  void OnStarted(bool /*ok*/) {
    if (!gate_->ReadOn()) Read();
    Do(writer_.Add({hello_}).step);
  }

  void OnRead(bool ok) {
    if (!ok) {
      LetGo();
      return EndHalf();
    }
    heard_ = SystemClock().Now();
    // What a worker sent before it ended the stream counts, though a write may have failed since.
    if (!cancelled_ && !invalid_) {
      const absl::Status status = Receive();
      invalid_ = !status.ok();
      if (invalid_) End(status);
      if (!invalid_ && gate_->ReadOn()) return;
    }
    Read();  // an ended stream too, to its end: its status comes no sooner
  }

  void OnWritten(bool ok) {
    if (!ok) LetGo();
    Do(writer_.WriteDone());
  }

  void OnFinished(bool /*ok*/) {
    const std::shared_ptr<ClientSession> self = std::move(self_);  // until the last line has run
    // The server's word is better than our guess, unless it only echoes our cancel.
    done_reason_ = cancelled_ || status_.ok() ? writer_.reason() : FromGrpc(status_);
    // A lost connection is UNAVAILABLE. The server's reason does not come through when it cuts.
    if (!cancelled_ && status_.error_code() == grpc::StatusCode::CANCELLED) {
      done_reason_ = absl::AbortedError("the worker cut off this router, too slow or silent");
    }
    if (up_) sink_->OnDown(worker_, done_reason_);
    on_done_(*this);
  }

  absl::Status Receive() {
    ASSIGN_OR_RETURN(std::vector<WorkerToRouter> messages, Decode());
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

  // A frame is many small messages: their memory is let go of at once, the first part of it to be
  // used again. On the reader, whose that part becomes with the first Reset.
  absl::StatusOr<std::vector<WorkerToRouter>> Decode() {
    auto* frame = google::protobuf::Arena::CreateMessage<v1::WorkerFrame>(&frame_memory_);
    absl::StatusOr<std::vector<WorkerToRouter>> messages =
        absl::InvalidArgumentError("frame: not a message of this protocol");
    if (grpc::SerializationTraits<v1::WorkerFrame>::Deserialize(&incoming_, frame).ok()) {
      messages = DecodeFrame(*frame);
    }
    frame_memory_.Reset();
    return messages;
  }

  // The stream has ended by itself; its status comes with Finish and must not be overwritten by a
  // cancel.
  void LetGo() { Do(writer_.End(absl::UnavailableError("the worker closed the session")).step); }

  void Do(WriterStep step) {
    if (step == WriterStep::kWrite) stream_->Write(writer_.frame(), &write_);
    if (step != WriterStep::kClose) return;
    if (gate_->Close()) Read();  // see OnRead
    EndHalf();
  }

  void Read() { stream_->Read(&incoming_, &read_); }

  // Reading is over, or writing is; nothing is under way and nothing starts once both are.
  void EndHalf() {
    if (--open_halves_ == 0) stream_->Finish(&status_, &finish_);
  }

  const size_t worker_;
  const RouterHello hello_;
  const SessionLimits limits_;
  SessionClientSink* const sink_;
  const OnDoneFunction on_done_;
  const std::shared_ptr<grpc::Channel> channel_;
  SessionWriter<RouterToWorker, v1::RouterFrame> writer_;
  grpc::ClientContext context_;
  std::unique_ptr<Stream> stream_;  // lives in a call that context_ holds
  Operation start_{this, &ClientSession::OnStarted};
  Operation read_{this, &ClientSession::OnRead};
  Operation write_{this, &ClientSession::OnWritten};
  Operation finish_{this, &ClientSession::OnFinished};
  std::atomic<int> open_halves_{2};
  grpc::ByteBuffer incoming_;
  alignas(8) std::array<char, 32768> first_memory_;
  google::protobuf::Arena frame_memory_{first_memory_.data(), first_memory_.size()};
  bool invalid_ = false;                // a frame was: what follows it is not looked at
  std::atomic<bool> cancelled_{false};  // we ended it, not the worker or the network
  grpc::Status status_;                 // set by Finish
  absl::Status done_reason_;            // set by OnFinished
  std::shared_ptr<ClientSession> self_;
  std::atomic<bool> up_{false};
  std::atomic<Instant> heard_;
  const std::shared_ptr<ReadGate> gate_;
};

}  // namespace tandem
