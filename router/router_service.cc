#include "router/router_service.h"

#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "common/config/version.h"
#include "common/kv/block_hash.h"
#include "common/telemetry/log.h"
#include "common/weights/model_file.h"
#include "router/openai/api_error.h"
#include "router/random_bits.h"

namespace tandem {
namespace {

// Any secret keeps the router's guesses apart; it need not be the workers' own.
HashSecret DrawSecret() {
  HashSecret secret;
  for (size_t i = 0; i < secret.size(); i += sizeof(uint64_t)) {
    const uint64_t bits = RandomBits();
    std::memcpy(secret.data() + i, &bits, sizeof bits);
  }
  return secret;
}

RouterCoreOptions CoreOptions(const RouterConfig& config, const RouterModel& model) {
  RouterCoreOptions options;
  options.num_workers = static_cast<uint32_t>(config.prefill.size() + config.decode.size());
  options.short_suffix_tokens = config.short_suffix_tokens;
  options.max_attempts = config.max_attempts;
  options.max_concurrent = config.max_concurrent_requests;
  options.max_queued = config.max_queue;
  options.fallback_base = config.fallback_base;
  options.fallback_per_token = config.fallback_per_token;
  options.hash_secret = DrawSecret();
  options.model_fingerprint = model.fingerprint;
  return options;
}

std::string TokenTextOrEmpty(const TokenizerData& data, std::optional<TokenId> id) {
  return id.has_value() ? data.tokens[*id] : std::string();
}

}  // namespace

absl::StatusOr<RouterModel> LoadRouterModel(const RouterConfig& config) {
  ASSIGN_OR_RETURN(const std::unique_ptr<ModelFile> file, ModelFile::Open(config.model));
  const TokenizerData& data = file->tokenizer();
  auto tokenizer = Tokenizer::Create(data);
  if (!tokenizer.ok()) return WithContext(tokenizer.status(), config.model);
  std::optional<ChatTemplate> chat_template;
  auto parsed =
      ChatTemplate::Parse(data.chat_template, {.bos = TokenTextOrEmpty(data, data.bos),
                                               .eos = TokenTextOrEmpty(data, data.eos),
                                               .unknown = TokenTextOrEmpty(data, data.unknown),
                                               .padding = TokenTextOrEmpty(data, data.padding)});
  if (parsed.ok()) {
    chat_template = *std::move(parsed);
  } else if (!absl::IsNotFound(parsed.status())) {
    return WithContext(parsed.status(), absl::StrCat(config.model, ": chat template"));
  }
  return RouterModel{
      .text = {*std::move(tokenizer), std::move(chat_template)},
      .name = config.served_model_name.empty()
                  ? std::filesystem::path(config.model).stem().string()  // what people typed
                  : config.served_model_name,
      .fingerprint = file->fingerprint(),
      .context_length = static_cast<uint32_t>(file->config().context_length)};
}

SessionStarter GrpcSessions(const RouterConfig& config) {
  std::vector<std::string> addresses;
  for (const HostPort& worker : config.prefill) addresses.push_back(worker.ToString());
  for (const HostPort& worker : config.decode) addresses.push_back(worker.ToString());
  return [addresses](SessionClientSink* sink) {
    RouterHello hello;
    hello.router_name = absl::StrCat("router-", RandomBits() & 0xFFFFFF);
    return SessionClient::Start(addresses, hello, SessionLimits{}, sink);
  };
}

RouterService::RouterService(const RouterConfig& config, RouterModel model)
    : config_(config),
      model_(std::move(model)),
      registry_("router", model_.name, kVersion),
      metrics_(&registry_),
      core_(std::make_unique<CoreTurns>(CoreOptions(config_, model_), RandomBits, &delivery_,
                                        [this](const RouterStats& stats) { FeedMetrics(stats); })) {
  context_ = ServingContext{.core = core_.get(),
                            .metrics = &metrics_,
                            .text = &model_.text,
                            .model_name = model_.name,
                            .started_at = absl::ToUnixSeconds(absl::Now()),
                            .request_timeout = config_.request_timeout,
                            .random_bits = RandomBits};
  frontend_ = std::make_unique<Frontend>(context_, registry_, model_.context_length);
}

absl::StatusOr<std::unique_ptr<RouterService>> RouterService::Start(
    const RouterConfig& config, RouterModel model, const SessionStarter& start_sessions) {
  std::unique_ptr<RouterService> service(new RouterService(config, std::move(model)));
  HttpServerOptions http;
  http.host = config.listen_host;
  http.port = config.listen_port;
  http.io_threads = config.io_threads;
  http.max_body_bytes = config.max_body_bytes;
  http.refusal_body = [metrics = &service->metrics_](int status, const std::string& reason,
                                                     const std::string& request_id) {
    CountAnswer(metrics, Endpoint::kOther, status);
    Log(Level::kInfo, "request refused",
        {{"request", request_id}, {"status", status}, {"reason", reason}});
    return ErrorBody({status, absl::StrCat("the request could not be read: ", reason), "", {}});
  };
  // Requests that come before the sessions are up find no worker and are told to come again.
  ASSIGN_OR_RETURN(
      service->server_,
      HttpServer::Start(http, [frontend = service->frontend_.get()](
                                  HttpRequest request, std::shared_ptr<ResponseWriter> writer) {
        frontend->Handle(std::move(request), std::move(writer));
      }));
  service->sessions_ = start_sessions(service->core_.get());
  service->core_->Start(service->sessions_.get());
  return service;
}

RouterService::~RouterService() { Stop(Duration::zero()); }

void RouterService::Stop(Duration patience) {
  frontend_->Drain();
  if (server_ != nullptr) server_->Shutdown(patience, [this] { core_->EndAll(); });
  frontend_->Stop();
  if (sessions_ != nullptr) sessions_->Shutdown();
  core_->Stop();
}

void RouterService::FeedMetrics(const RouterStats& stats) {
  metrics_.running.Set(static_cast<double>(stats.active - stats.queued));
  metrics_.waiting.Set(static_cast<double>(stats.queued));
  metrics_.fill_decisions[FillDecision::kRemote].SetTotal(stats.fills_remote);
  metrics_.fill_decisions[FillDecision::kShortSuffix].SetTotal(stats.fills_short);
  metrics_.fill_decisions[FillDecision::kNoPrefillWorker].SetTotal(stats.fills_no_prefill);
  metrics_.fenced_frames.SetTotal(stats.fenced_frames);
  metrics_.fill_retries.SetTotal(stats.fills_reassigned);
  metrics_.decode_restarts.SetTotal(stats.decode_restarts);
  metrics_.remembered_blocks.Set(static_cast<double>(stats.remembered_blocks));
  const auto set = [&](WorkerKind kind, size_t configured, uint64_t ready, uint64_t draining) {
    auto& states = metrics_.workers[kind];
    states[WorkerState::kReady].Set(static_cast<double>(ready));
    states[WorkerState::kDraining].Set(static_cast<double>(draining));
    states[WorkerState::kDown].Set(static_cast<double>(configured) -
                                   static_cast<double>(ready + draining));
  };
  set(WorkerKind::kPrefill, config_.prefill.size(), stats.ready_prefill, stats.draining_prefill);
  set(WorkerKind::kDecode, config_.decode.size(), stats.ready_decode, stats.draining_decode);
}

}  // namespace tandem
