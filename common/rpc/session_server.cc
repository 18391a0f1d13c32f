#include "common/rpc/session_server.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/rpc/convert.h"
#include "common/rpc/grpc_setup.h"
#include "common/rpc/listen_address.h"
#include "common/rpc/server_session.h"
#include "common/rpc/session_timer.h"
#include "common/rpc/tandem.grpc.pb.h"

namespace tandem {
namespace {

constexpr size_t kMaxSessions = 256;  // routers per worker; more are refused

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
