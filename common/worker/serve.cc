#include "common/worker/serve.h"

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/config/port_file.h"
#include "common/config/version.h"
#include "common/telemetry/log.h"
#include "common/worker/stop_signal.h"
#include "common/worker/worker_shell.h"
#include "common/worker/worker_telemetry.h"

namespace tandem {

void StartProcess(const CommonConfig& config, absl::string_view role) {
  StopSignal::Block();
  StartLog(LevelFromName(config.log_level).value_or(Level::kInfo),
           std::string_view(role.data(), role.size()));
}

absl::Status Serve(const WorkerConfig& config, WorkerSetup* setup, WorkerCore* core,
                   std::function<void(WorkerMetrics*)> feed) {
  MetricsRegistry registry(WorkerRoleName(setup->hello.role), setup->hello.model_name, kVersion);
  WorkerTelemetry telemetry(&registry, setup->cache.get(), core, std::move(feed));
  ASSIGN_OR_RETURN(const std::unique_ptr<MetricsServer> metrics_server,
                   MetricsServer::Start(registry, config.metrics_host, config.metrics_port));
  ASSIGN_OR_RETURN(std::unique_ptr<KvTransport> transport, MakeTransport(config));

  WorkerShellOptions options;
  options.hello = setup->hello;
  options.server.host = config.listen_host;
  options.server.port = config.listen_port;
  options.transfer = setup->transfer;
  options.drain_limit = config.drain_limit;
  WorkerShell* running = nullptr;
  WorkerShell::Observer observer{
      .on_submitted = [&](const StepPlan& plan) { telemetry.OnSubmitted(plan); },
      .on_step_done = [&](const StepDone& done) { telemetry.OnStepDone(done); },
      .on_turn = [&] { telemetry.OnTurn(running->transfer_counters()); },
      .on_hold = [&] { telemetry.OnHold(); }};
  ASSIGN_OR_RETURN(std::unique_ptr<WorkerShell> shell,
                   WorkerShell::Start(options, core, setup->executor.get(), setup->memory,
                                      std::move(transport), std::move(observer)));
  running = shell.get();
  RETURN_IF_ERROR(WritePortFile(config.port_file, shell->port()));
  Log(Level::kInfo, "serving",
      {{"name", setup->hello.worker_name},
       {"host", config.listen_host},
       {"port", shell->port()},
       {"metrics_port", metrics_server->port()},
       {"incarnation", setup->hello.handshake.incarnation.value()}});
  const StopSignal stop([&] { shell->RequestStop(); });
  if (!shell->Run()) {
    return absl::InternalError("the KV transport did not give all memory back");
  }
  Log(Level::kInfo, "stopped");
  return absl::OkStatus();
}

int ExitCode(absl::string_view role, const absl::Status& status) {
  if (status.ok()) return 0;
  std::fprintf(stderr, "tandem-%s: %s\n", std::string(role).c_str(),
               std::string(status.message()).c_str());
  return 1;
}

}  // namespace tandem
