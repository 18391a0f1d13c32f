#include "common/config/config.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/config/option_set.h"
#include "common/config/option_values.h"

namespace tandem {
namespace {

constexpr uint32_t kMaxTokens = 1 << 20;
constexpr uint32_t kBlockTokens = 16;
constexpr uint32_t kMaxStepMs = 60'000;
constexpr uint32_t kMaxBatchWindowMs = 100;
constexpr size_t kMinSecretBytes = 16;
constexpr Duration kZero = Duration::zero();

absl::Status Invalid(absl::string_view what) { return absl::InvalidArgumentError(what); }

ReadValue IntoMilliseconds(Duration* out, uint32_t max) {
  return [=](absl::string_view text) {
    uint32_t milliseconds = 0;
    RETURN_IF_ERROR(IntoCount(&milliseconds, 0, max)(text));
    *out = std::chrono::milliseconds(milliseconds);
    return absl::OkStatus();
  };
}

ReadValue IntoSecret(std::string* out) {
  return [=](absl::string_view text) {
    if (text.size() < kMinSecretBytes) return Invalid("must have at least 16 characters");
    *out = std::string(text);
    return absl::OkStatus();
  };
}

ReadValue IntoLevelName(std::string* out) {
  return IntoChoice<std::string>(
      out, {{"error", "error"}, {"warn", "warn"}, {"info", "info"}, {"debug", "debug"}});
}

void AddCommon(CommonConfig* c, OptionSet* options) {
  options->Add({"model", "FILE", "Model file (GGUF). Required.", "", IntoText(&c->model)});
  options->Add(
      {"listen_host", "HOST", "Address to listen on.", c->listen_host, IntoText(&c->listen_host)});
  options->Add({"listen_port", "PORT", "Port to listen on; 0 takes a free one.",
                absl::StrCat(c->listen_port), IntoPort(&c->listen_port)});
  options->Add(
      {"port_file", "FILE", "Where to write the chosen port.", "", IntoText(&c->port_file)});
  options->Add({"log_level", "LEVEL", "error, warn, info or debug.", c->log_level,
                IntoLevelName(&c->log_level)});
  options->Add({"drain_limit", "TIME", "How long what runs may go on after SIGTERM or SIGINT.",
                DurationText(c->drain_limit),
                IntoDuration(&c->drain_limit, kZero, std::chrono::hours(24))});
  options->Add({.name = "cluster_secret",
                .placeholder = "",
                .help = "Keys the prefix hashes of a worker.",
                .default_text = "",
                .read = IntoSecret(&c->cluster_secret),
                .secret = true});
}

absl::Status CheckCommon(const CommonConfig& c) {
  if (c.model.empty()) return Invalid("--model is required: the path of a model file");
  if (c.listen_host.empty()) return Invalid("--listen-host is empty");
  return absl::OkStatus();
}

void AddWorker(WorkerConfig* c, OptionSet* options) {
  AddCommon(c, options);
  options->Add({"name", "NAME", "Name in logs.", "role and process id", IntoText(&c->name)});
  options->Add({"threads", "N", "Compute threads; 0: all cores.", absl::StrCat(c->threads),
                IntoCount(&c->threads, 0, 1024)});
  options->Add({"kv_blocks", "N", "KV cache in blocks of 16 tokens; 0: see kv-memory.",
                absl::StrCat(c->kv_blocks), IntoCount(&c->kv_blocks, 0, 1u << 28)});
  options->Add({"kv_memory", "SIZE", "KV cache in bytes; 0: a share of the memory.", "0",
                IntoBytes(&c->kv_memory_bytes, 0, 1ull << 46)});
  options->Add({"kv_type", "TYPE", "f16 or f32.", "f16",
                IntoChoice<KvTypeChoice>(
                    &c->kv_type, {{"f16", KvTypeChoice::kF16}, {"f32", KvTypeChoice::kF32}})});
  options->Add({"backend", "NAME", "auto, reference or cpu.", "auto",
                IntoChoice<BackendChoice>(&c->backend, {{"auto", BackendChoice::kAuto},
                                                        {"reference", BackendChoice::kReference},
                                                        {"cpu", BackendChoice::kCpu}})});
  options->Add({"max_model_len", "N", "Longest sequence in tokens; 0: the model's own.",
                absl::StrCat(c->max_model_len), IntoCount(&c->max_model_len, 0, kMaxTokens)});
  options->Add({"max_sequences", "N", "Sequences or jobs at a time.",
                absl::StrCat(c->max_sequences), IntoCount(&c->max_sequences, 1, 1u << 16)});
  options->Add({"reserve_blocks", "N", "KV blocks that are never booked.",
                absl::StrCat(c->reserve_blocks), IntoCount(&c->reserve_blocks, 0, 1u << 28)});
  options->Add({"batch_window_ms", "N",
                "Milliseconds a first step waits for more bulk work, up to 100.", "0",
                IntoMilliseconds(&c->batch_window, kMaxBatchWindowMs)});
  options->Add({"numerics", "MODE", "strict or mixed: which workers pair.", "strict",
                IntoChoice<NumericsChoice>(&c->numerics, {{"strict", NumericsChoice::kStrict},
                                                          {"mixed", NumericsChoice::kMixed}})});
  options->Add({"transport", "NAME", "auto (direct copies within a host, else UCX) or ucx.",
                c->transport, IntoText(&c->transport)});
  options->Add({"metrics_host", "HOST", "Address of the metrics endpoint.", c->metrics_host,
                IntoText(&c->metrics_host)});
  options->Add({"metrics_port", "PORT", "Port of the metrics endpoint; 0 takes a free one.",
                absl::StrCat(c->metrics_port), IntoPort(&c->metrics_port)});
}

absl::Status CheckWorker(const WorkerConfig& c) {
  RETURN_IF_ERROR(CheckCommon(c));
  if (c.kv_blocks > 0 && c.kv_memory_bytes > 0) {
    return Invalid("--kv-blocks and --kv-memory both say how large the KV cache is; give one");
  }
  if (c.kv_blocks > 0 && c.reserve_blocks >= c.kv_blocks) {
    return Invalid("--reserve-blocks leaves none of --kv-blocks");
  }
  return absl::OkStatus();
}

std::vector<std::string> Strings(char** list) {
  std::vector<std::string> strings;
  for (; list != nullptr && *list != nullptr; ++list) strings.emplace_back(*list);
  return strings;
}

}  // namespace

absl::StatusOr<RouterConfig> ParseRouterConfig(absl::Span<const std::string> args,
                                               Environment environment) {
  RouterConfig c;
  OptionSet options("tandem-router", "The Tandem router: OpenAI HTTP API in front of the workers.");
  AddCommon(&c, &options);
  options.Add({"prefill", "HOST:PORT,...", "Prefill workers; may be repeated.", "",
               IntoAddresses(&c.prefill)});
  options.Add({"decode", "HOST:PORT,...", "Decode workers; may be repeated. Required.", "",
               IntoAddresses(&c.decode)});
  options.Add({"served_model_name", "NAME", "Model name that clients use.", "of the model file",
               IntoText(&c.served_model_name)});
  options.Add({"max_body_bytes", "SIZE", "Longest request body.", BytesText(c.max_body_bytes),
               IntoBytes(&c.max_body_bytes, 1024, 1ull << 30)});
  options.Add({"max_concurrent_requests", "N", "Requests at a time; more wait.",
               absl::StrCat(c.max_concurrent_requests),
               IntoCount(&c.max_concurrent_requests, 1, 1u << 20)});
  options.Add({"max_queue", "N", "Requests that wait; more are refused.", absl::StrCat(c.max_queue),
               IntoCount(&c.max_queue, 0, 1u << 20)});
  options.Add(
      {"request_timeout", "TIME", "Deadline of a request.", DurationText(c.request_timeout),
       IntoDuration(&c.request_timeout, std::chrono::milliseconds(1), std::chrono::hours(24))});
  options.Add({"fallback_base", "TIME", "Silence after which decode fills itself.",
               DurationText(c.fallback_base),
               IntoDuration(&c.fallback_base, kZero, std::chrono::hours(1))});
  options.Add({"fallback_per_token", "TIME", "More of it for each missing token.",
               DurationText(c.fallback_per_token),
               IntoDuration(&c.fallback_per_token, kZero, std::chrono::seconds(10))});
  options.Add({"short_suffix_tokens", "N", "Fewer missing tokens need no prefill worker.",
               absl::StrCat(c.short_suffix_tokens),
               IntoCount(&c.short_suffix_tokens, 0, kMaxTokens)});
  options.Add({"max_attempts", "N", "Prefill workers tried for a request.",
               absl::StrCat(c.max_attempts), IntoCount(&c.max_attempts, 0, 16)});
  options.Add({"io_threads", "N", "Threads of the HTTP front.", absl::StrCat(c.io_threads),
               IntoCount(&c.io_threads, 1, 64)});
  ASSIGN_OR_RETURN(c.info_text, options.Apply(args, environment));
  if (!c.info_text.empty()) return c;
  RETURN_IF_ERROR(CheckCommon(c));
  if (c.decode.empty()) return Invalid("--decode is required: at least one decode worker");
  return c;
}

absl::StatusOr<PrefillConfig> ParsePrefillConfig(absl::Span<const std::string> args,
                                                 Environment environment) {
  PrefillConfig c;
  OptionSet options("tandem-prefill", "The Tandem prefill worker: computes prompts, pushes KV.");
  AddWorker(&c, &options);
  options.Add({"chunk_tokens", "N", "Tokens of one step, of all jobs together.",
               absl::StrCat(c.chunk_tokens), IntoCount(&c.chunk_tokens, kBlockTokens, 1u << 16)});
  options.Add({"step_budget_ms", "N", "Step with interactive jobs, at most, in ms; 0: no limit.",
               "1000", IntoMilliseconds(&c.step_budget, kMaxStepMs)});
  ASSIGN_OR_RETURN(c.info_text, options.Apply(args, environment));
  if (!c.info_text.empty()) return c;
  RETURN_IF_ERROR(CheckWorker(c));
  if (c.chunk_tokens % kBlockTokens != 0) {
    return Invalid("--chunk-tokens must be a multiple of 16: only full blocks are pushed");
  }
  return c;
}

absl::StatusOr<DecodeConfig> ParseDecodeConfig(absl::Span<const std::string> args,
                                               Environment environment) {
  DecodeConfig c;
  OptionSet options("tandem-decode", "The Tandem decode worker: keeps KV, streams tokens.");
  AddWorker(&c, &options);
  options.Add({"chunk_tokens", "N", "Tokens of one sequence filled in a step.",
               absl::StrCat(c.chunk_tokens), IntoCount(&c.chunk_tokens, kBlockTokens, 1u << 16)});
  options.Add({"max_batch_tokens", "N", "Tokens of all sequences in a step.",
               absl::StrCat(c.max_batch_tokens),
               IntoCount(&c.max_batch_tokens, kBlockTokens, 1u << 16)});
  options.Add({"max_prefill_tokens_per_step", "N", "Prompt tokens beside running streams.",
               absl::StrCat(c.max_prefill_tokens_per_step),
               IntoCount(&c.max_prefill_tokens_per_step, kBlockTokens, 1u << 16)});
  options.Add({"step_budget_ms", "N",
               "Longest step, in ms, of interactive streams with other work; 0: twice their own.",
               "0", IntoMilliseconds(&c.step_budget, kMaxStepMs)});
  ASSIGN_OR_RETURN(c.info_text, options.Apply(args, environment));
  if (!c.info_text.empty()) return c;
  RETURN_IF_ERROR(CheckWorker(c));
  if (c.max_batch_tokens < c.max_sequences) {
    return Invalid(
        "--max-batch-tokens is less than --max-sequences: every stream needs one a step");
  }
  return c;
}

absl::StatusOr<RouterConfig> ParseRouterConfig(int argc, char** argv, char** envp) {
  return ParseRouterConfig(std::vector<std::string>(argv + 1, argv + argc), Strings(envp));
}

absl::StatusOr<PrefillConfig> ParsePrefillConfig(int argc, char** argv, char** envp) {
  return ParsePrefillConfig(std::vector<std::string>(argv + 1, argv + argc), Strings(envp));
}

absl::StatusOr<DecodeConfig> ParseDecodeConfig(int argc, char** argv, char** envp) {
  return ParseDecodeConfig(std::vector<std::string>(argv + 1, argv + argc), Strings(envp));
}

}  // namespace tandem
