// SimRouter: the production RouterCore with its clients, joined as the router's shell joins them.
// Checks everything that a client receives against the undisturbed stream, and that each token was
// accepted from the one worker and epoch that the request was last given to.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "router/core/router_core.h"
#include "tests/sim/sim_sessions.h"
#include "tests/sim/sim_world.h"
#include "tests/sim/workload.h"

namespace tandem::sim {

class SimRouter : public SessionRouter {
 public:
  // `calm`: nothing goes wrong in this run, so no request may end with an error of ours.
  SimRouter(SimWorld* world, const RouterCoreOptions& options, bool calm);

  void set_sessions(SimSessions* sessions) { sessions_ = sessions; }

  // `must_finish`: faults are over, an error is a failure.
  void Submit(const ClientRequest& request, bool must_finish);

  void OnWorkerMessages(uint32_t slot, std::vector<WorkerToRouter> messages) override;
  void OnSessionDown(uint32_t slot, absl::string_view reason) override;

  size_t open_streams() const { return open_; }
  std::string DescribeOpen() const;
  bool Ready() const {
    return core_.HasReadyWorker(WorkerRole::kDecode) && core_.HasReadyWorker(WorkerRole::kPrefill);
  }
  const RouterStats& stats() const { return core_.stats(); }

 private:
  // Who may give a request tokens.
  struct Server {
    uint32_t slot = 0;
    uint32_t epoch = 0;
    friend bool operator==(const Server&, const Server&) = default;
  };
  struct Stream {
    ClientRequest request;
    bool must_finish = false;
    Instant submitted;
    bool client_left = false;
    bool stop_matched = false;
    bool ended = false;
    std::vector<TokenId> tokens;
    std::optional<Server> server;
  };

  void After();  // carries out effects and sets the next wake-up
  void CarryOut();
  void OnTokens(const EmitTokens& emit);
  void OnEnd(const EndStream& end);
  void CheckError(const Stream& stream, const StreamError& error);
  void Wake(Instant when);

  SimWorld* const world_;
  const bool calm_;
  RouterCore core_;
  SimSessions* sessions_ = nullptr;
  std::map<RequestId, Stream> streams_;
  size_t open_ = 0;
  std::optional<Server> source_;  // of the frame being handled
  Instant wake_ = kNever;
};

}  // namespace tandem::sim
