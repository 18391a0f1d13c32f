#include "common/rpc/session_client.h"

#include <grpcpp/completion_queue.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/random/random.h"
#include "common/base/check.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/base/worker_thread.h"
#include "common/rpc/client_session.h"
#include "common/rpc/convert.h"
#include "common/rpc/grpc_setup.h"
#include "common/rpc/session_hello.h"
#include "common/rpc/session_timer.h"
#include "common/telemetry/log.h"

namespace tandem {
namespace {

// One completion queue with one thread for all sessions, not gRPC's callback API: that has two
// threads at least, which hand each other the right to poll with every frame
// (router/PERFORMANCE.md).
class GrpcSessionClient : public SessionClient {
 public:
  GrpcSessionClient(std::vector<std::string> addresses, const RouterHello& hello,
                    const SessionLimits& limits, SessionClientSink* sink)
      : addresses_(std::move(addresses)),
        hello_(hello),
        limits_(limits),
        sink_(sink),
        peers_(addresses_.size()),
        timer_("session-timer", [this](Instant now) { return CheckTimes(now); }),
        reader_("session-reader", [this] { TakeEvents(); }) {}

  ~GrpcSessionClient() override { Shutdown(); }

  absl::Status Send(size_t worker, std::vector<RouterToWorker> messages) override {
    RETURN_IF_ERROR(CheckSendable<RouterHello>(messages));
    const std::shared_ptr<ClientSession> session = Find(worker);
    if (session == nullptr) return absl::UnavailableError("the worker is not up");
    return session->Send(std::move(messages));
  }

  bool backlogged(size_t worker) const override {
    const std::shared_ptr<ClientSession> session = Find(worker);
    return session != nullptr && session->backlogged();
  }

  bool listening(size_t worker) const override {
    if (ReaderIsLate(SystemClock().Now())) return false;
    const std::shared_ptr<ClientSession> session = Find(worker);
    return session == nullptr || session->listening();
  }

  void EndSession(size_t worker, const absl::Status& reason) override {
    if (const auto session = Find(worker)) session->End(reason);
  }

  void Shutdown() override {
    {
      MutexLock lock(&mutex_);
      if (shutting_down_) return;
      shutting_down_ = true;
    }
    timer_.Stop();  // from here on no session starts
    for (size_t worker = 0; worker < addresses_.size(); ++worker) {
      EndSession(worker, absl::CancelledError("the router is ending"));
    }
    {
      // Cancelling is local, so this ends; if gRPC ever broke that promise, going on would be a use
      // after free.
      MutexLock lock(&mutex_);
      const bool done = changed_.WaitUntil(
          &mutex_, SystemClock().Now() + limits_.shutdown_limit + std::chrono::seconds(10),
          [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return open_sessions_ == 0; });
      TANDEM_CHECK_MSG(done, "a cancelled session did not end");
    }
    events_.Shutdown();  // no session is left to start an operation
    reader_.Join();
  }

 private:
  struct Peer {
    std::shared_ptr<ClientSession> session;  // null before the first attempt and between attempts
    bool done = false;                       // `session` is
    int failures = 0;                        // attempts in a row that never came up
    Instant next_attempt{};
  };

  std::shared_ptr<ClientSession> Find(size_t worker) const {
    MutexLock lock(&mutex_);
    return worker < peers_.size() ? peers_[worker].session : nullptr;
  }

  // Doubles up to the cap; half of it is drawn, so that routers do not call in step.
  Duration Backoff(int failures) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Duration backoff = limits_.first_backoff;
    for (int i = 1; i < failures && backoff < limits_.max_backoff; ++i) backoff *= 2;
    backoff = std::min(backoff, limits_.max_backoff);
    return backoff / 2 + Duration(absl::Uniform<int64_t>(random_, 0, backoff.count() / 2 + 1));
  }

  void TakeEvents() {
    void* operation = nullptr;
    bool ok = false;
    while (events_.Next(&operation, &ok)) {
      const Instant began = SystemClock().Now();
      event_began_ = began;
      static_cast<ClientSession::Operation*>(operation)->Over(ok);
      const Instant now = SystemClock().Now();
      if (now - began > catch_up_time()) late_until_ = now + catch_up_time();
      event_began_ = kNever;
    }
  }

  // Whether one event keeps the reader, or kept it just now, for so long that what others sent in
  // the meantime may not have been heard yet.
  bool ReaderIsLate(Instant now) const {
    const Instant began = event_began_;
    return (began < now && now - began > catch_up_time()) || now < late_until_.load();
  }
  Duration catch_up_time() const { return limits_.silence_limit / 4; }

  void Done(const ClientSession& session) {
    MutexLock lock(&mutex_);
    --open_sessions_;
    changed_.NotifyAll();
    Peer& peer = peers_[session.worker()];
    peer.failures = session.was_up() ? 1 : peer.failures + 1;
    peer.next_attempt = SystemClock().Now() + Backoff(peer.failures);
    peer.done = true;
    if (!session.was_up() && !shutting_down_) {
      Log(peer.failures == 1 ? Level::kWarn : Level::kDebug, "worker not reached",
          {{"worker", addresses_[session.worker()]},
           {"failures", peer.failures},
           {"reason", session.done_reason().ToString()}});
    }
    timer_.Wake();
  }

  // Starts what is due and ends what is silent. The only place that starts sessions and drops them.
  Instant CheckTimes(Instant now) {
    Instant next = kNever;
    const bool reader_is_late = ReaderIsLate(now);
    for (size_t worker = 0; worker < addresses_.size(); ++worker) {
      std::shared_ptr<ClientSession> session;
      std::shared_ptr<ClientSession> ended;  // let go outside the lock
      bool open = false;
      {
        MutexLock lock(&mutex_);
        Peer& peer = peers_[worker];
        if (peer.done) {
          ended = std::move(peer.session);
          peer.session = nullptr;
          peer.done = false;
        }
        if (shutting_down_) continue;
        if (peer.session == nullptr) {
          if (now < peer.next_attempt) {
            next = std::min(next, peer.next_attempt);
            continue;
          }
          peer.session =
              std::make_shared<ClientSession>(worker, addresses_[worker], hello_, limits_, sink_,
                                              [this](const ClientSession& done) { Done(done); });
          ++open_sessions_;
          open = true;
        }
        session = peer.session;
      }
      if (open) ClientSession::Open(session, &events_);
      next = std::min(next, reader_is_late ? now + catch_up_time() : session->CheckTime(now));
    }
    return next;
  }

  const std::vector<std::string> addresses_;
  const RouterHello hello_;
  const SessionLimits limits_;
  SessionClientSink* const sink_;
  grpc::CompletionQueue events_;  // outlives the sessions
  mutable Mutex mutex_;
  CondVar changed_;
  bool shutting_down_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Peer> peers_ ABSL_GUARDED_BY(mutex_);
  size_t open_sessions_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::BitGen random_ ABSL_GUARDED_BY(mutex_);
  std::atomic<Instant> event_began_{kNever};  // the one that the reader handles; kNever: none
  std::atomic<Instant> late_until_{Instant{}};
  SessionTimer timer_;  // last, with the reader: their threads use all of the above
  WorkerThread reader_;
};

}  // namespace

std::unique_ptr<SessionClient> SessionClient::Start(std::vector<std::string> addresses,
                                                    const RouterHello& hello,
                                                    const SessionLimits& limits,
                                                    SessionClientSink* sink) {
  RouteGrpcLog();
  TANDEM_CHECK(Validate(RouterToWorker(hello)).ok());
  return std::make_unique<GrpcSessionClient>(std::move(addresses), hello, limits, sink);
}

}  // namespace tandem
