// The router: takes OpenAI API requests, gives them to prefill and decode workers, and streams the
// answers back.
#include <pthread.h>
#include <signal.h>

#include <cstdio>
#include <string>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/config/config.h"
#include "common/config/port_file.h"
#include "common/telemetry/log.h"
#include "router/router_service.h"

// Read by jemalloc, where it is linked. Its default of four arenas a core is for programs whose
// threads all allocate; here it would keep memory that nobody uses.
extern "C" const char* malloc_conf;
const char* malloc_conf = "narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0";

namespace tandem {
namespace {

sigset_t BlockStopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  TANDEM_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
  return set;
}

absl::Status RunRouter(const RouterConfig& config) {
  // Before any thread starts, so that all of them leave the signals to this one.
  const sigset_t stop_signals = BlockStopSignals();
  StartLog(LevelFromName(config.log_level).value_or(Level::kInfo), "router");
  ASSIGN_OR_RETURN(RouterModel model, LoadRouterModel(config));
  const std::string model_name = model.name;
  ASSIGN_OR_RETURN(const std::unique_ptr<RouterService> service,
                   RouterService::Start(config, std::move(model), GrpcSessions(config)));
  RETURN_IF_ERROR(WritePortFile(config.port_file, service->port()));
  Log(Level::kInfo, "serving",
      {{"host", config.listen_host},
       {"port", service->port()},
       {"model", model_name},
       {"prefill_workers", config.prefill.size()},
       {"decode_workers", config.decode.size()}});

  int signal = 0;
  TANDEM_CHECK(sigwait(&stop_signals, &signal) == 0);
  Log(Level::kInfo, "stopping", {{"signal", signal}});
  // A second signal ends the process at once.
  TANDEM_CHECK(pthread_sigmask(SIG_UNBLOCK, &stop_signals, nullptr) == 0);
  service->Stop(config.drain_limit);
  Log(Level::kInfo, "stopped");
  return absl::OkStatus();
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv, char** envp) {
  const auto config = tandem::ParseRouterConfig(argc, argv, envp);
  absl::Status status = config.status();
  if (config.ok()) {
    if (!config->info_text.empty()) return std::fputs(config->info_text.c_str(), stdout) < 0;
    status = tandem::RunRouter(*config);
  }
  if (status.ok()) return 0;
  std::fprintf(stderr, "tandem-router: %s\n", std::string(status.message()).c_str());
  return 1;
}
