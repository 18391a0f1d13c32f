#include "common/rpc/session_server.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <atomic>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/rpc/convert.h"
#include "common/rpc/grpc_setup.h"
#include "common/rpc/listen_address.h"
#include "common/rpc/session_hello.h"
#include "common/rpc/session_timer.h"
#include "common/rpc/session_writer.h"
#include "common/rpc/tandem.grpc.pb.h"

namespace tandem {
namespace {

constexpr size_t kMaxSessions = 256;  // routers per worker; more are refused

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

// Answers a call that gets no session.
class RefusedCall : public grpc::ServerBidiReactor<v1::RouterFrame, v1::WorkerFrame> {
 public:
  explicit RefusedCall(const absl::Status& reason) { Finish(ToGrpc(reason)); }
  void OnDone() override { delete this; }
};

class GrpcSessionServer : public SessionServer, public v1::Worker::CallbackService {
 public:
  GrpcSessionServer(const Options& options, const WorkerHello& hello, SessionSink* sink)
      : limits_(options.limits),
        hello_(hello),
        sink_(sink),
        backlogs_(sink),
        timer_("session-timer", [this](Instant now) { return CheckTimes(now); }) {}

  ~GrpcSessionServer() override { Shutdown(); }

  absl::Status Listen(const std::string& host, uint16_t port) {
    RETURN_IF_ERROR(CheckCanListen(host, port));
    const std::string address = ListenAddress(host, port);
    grpc::ServerBuilder builder;
    for (const auto& [name, value] : SessionChannelArguments()) {
      builder.AddChannelArgument(name, value);
    }
    int chosen = 0;
    builder.AddListeningPort(address, SessionServerCredentials(), &chosen);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || chosen == 0) {
      return absl::UnavailableError(absl::StrCat("cannot listen on ", address));
    }
    port_ = static_cast<uint16_t>(chosen);
    return absl::OkStatus();
  }

  grpc::ServerBidiReactor<v1::RouterFrame, v1::WorkerFrame>* Session(
      grpc::CallbackServerContext* context) override {
    std::shared_ptr<ServerSession> session;
    {
      MutexLock lock(&mutex_);
      if (shutting_down_) return new RefusedCall(absl::UnavailableError("the worker is ending"));
      if (sessions_.size() >= kMaxSessions) {
        return new RefusedCall(absl::ResourceExhaustedError("too many sessions"));
      }
      const SessionId id(++last_id_);
      session = std::make_shared<ServerSession>(id, context, limits_, sink_, &backlogs_,
                                                [this](SessionId done) { Remove(done); });
      sessions_.emplace(id, session);
    }
    ServerSession::Open(session, hello_);
    timer_.Wake();
    return session.get();  // holds itself
  }

  uint16_t port() const override { return port_; }
  bool backlogged() const override { return backlogs_.any(); }
  bool all_written() override {
    for (const auto& session : All()) {
      if (!session->all_written()) return false;
    }
    return true;
  }

  absl::Status Send(SessionId id, std::vector<WorkerToRouter> messages) override {
    RETURN_IF_ERROR(CheckSendable<WorkerHello>(messages));
    const std::shared_ptr<ServerSession> session = Find(id);
    if (session == nullptr) return absl::NotFoundError("no such session");
    return session->Send(std::move(messages));
  }

  void EndSession(SessionId id, const absl::Status& reason) override {
    if (const auto session = Find(id)) session->End(reason);
    timer_.Wake();
  }

  void Shutdown() override {
    {
      MutexLock lock(&mutex_);
      if (shutting_down_) return;
      shutting_down_ = true;
    }
    for (const auto& session : All()) session->End(absl::UnavailableError("the worker is ending"));
    timer_.Wake();
    if (server_ != nullptr) {
      server_->Shutdown(std::chrono::system_clock::now() + limits_.shutdown_limit);
    }
    {
      // Cancelling is local, so this ends; if gRPC ever broke that promise, going on would be a use
      // after free.
      MutexLock lock(&mutex_);
      const bool done = changed_.WaitUntil(
          &mutex_, SystemClock().Now() + limits_.shutdown_limit + std::chrono::seconds(10),
          [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return sessions_.empty(); });
      TANDEM_CHECK_MSG(done, "a cancelled session did not end");
    }
    timer_.Stop();
    server_.reset();
  }

 private:
  std::shared_ptr<ServerSession> Find(SessionId id) {
    MutexLock lock(&mutex_);
    const auto it = sessions_.find(id);
    return it == sessions_.end() ? nullptr : it->second;
  }

  std::vector<std::shared_ptr<ServerSession>> All() {
    MutexLock lock(&mutex_);
    std::vector<std::shared_ptr<ServerSession>> all;
    for (const auto& [id, session] : sessions_) all.push_back(session);
    return all;
  }

  void Remove(SessionId id) {
    MutexLock lock(&mutex_);
    sessions_.erase(id);
    changed_.NotifyAll();
  }

  Instant CheckTimes(Instant now) {
    Instant next = kNever;
    for (const auto& session : All()) next = std::min(next, session->CheckTime(now));
    return next;
  }

  const SessionLimits limits_;
  const WorkerHello hello_;
  SessionSink* const sink_;
  Backlogs backlogs_;
  uint16_t port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  Mutex mutex_;
  CondVar changed_;
  bool shutting_down_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<SessionId, std::shared_ptr<ServerSession>> sessions_ ABSL_GUARDED_BY(mutex_);
  SessionTimer timer_;  // last: its thread uses all of the above
};

}  // namespace

absl::StatusOr<std::unique_ptr<SessionServer>> SessionServer::Start(const Options& options,
                                                                    const WorkerHello& hello,
                                                                    SessionSink* sink) {
  RouteGrpcLog();
  RETURN_IF_ERROR(Validate(WorkerToRouter(hello)));
  auto server = std::make_unique<GrpcSessionServer>(options, hello, sink);
  RETURN_IF_ERROR(server->Listen(options.host, options.port));
  return server;
}

}  // namespace tandem
