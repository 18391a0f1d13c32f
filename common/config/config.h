// Settings of the three programs, as plain structs that are filled once and then only read.
//
// A value comes from, later ones winning: the default here, the YAML file of --config (keys in
// snake_case), the environment (TANDEM_ + key in capitals), flags (--key with dashes). Only this
// folder reads argv and the environment. An unknown flag, key or TANDEM_ variable is an error that
// names the nearest known one; so is a value out of range.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/clock.h"

namespace tandem {

struct HostPort {
  std::string host;  // IPv6 without brackets
  uint16_t port = 0;

  // "host:port", with brackets around an IPv6 address.
  std::string ToString() const;
  friend bool operator==(const HostPort&, const HostPort&) = default;
};

// What all three programs have.
struct CommonConfig {
  // Not empty: --help or --version was given; print this to stdout and exit 0. Nothing else is
  // valid then.
  std::string info_text;

  std::string model;  // path of the model file; required
  std::string listen_host = "127.0.0.1";
  uint16_t listen_port = 0;        // 0: any free port
  std::string port_file;           // where the chosen port is written; empty: nowhere
  std::string log_level = "info";  // error, warn, info or debug
  // How long what runs may go on after SIGTERM or SIGINT; then it is ended. A second signal ends
  // the program at once.
  Duration drain_limit = std::chrono::seconds(30);
  // Keys a worker's content hashes of prefix blocks; workers of a cluster may differ in it, and the
  // router, which draws its own, takes it so that one environment serves all programs. Environment
  // or file only, never a flag. Empty: hashes are unkeyed.
  std::string cluster_secret;
};

struct RouterConfig : CommonConfig {
  RouterConfig() {
    listen_port = 8000;
    drain_limit = std::chrono::seconds(20);  // so that workers serve to its end
  }

  std::vector<HostPort>
      prefill;                   // workers' gRPC addresses; none: decode workers fill by themselves
  std::vector<HostPort> decode;  // at least one
  std::string served_model_name;  // empty: the model file's name without .gguf
  uint64_t max_body_bytes = 4 << 20;
  uint32_t max_concurrent_requests = 1024;  // beyond it requests wait
  uint32_t max_queue = 1024;                // beyond it they are refused with 429
  Duration request_timeout = std::chrono::seconds(600);
  // Decode fills by itself when nothing was committed for fallback_base + fallback_per_token x
  // missing tokens.
  Duration fallback_base = std::chrono::seconds(5);
  Duration fallback_per_token = std::chrono::milliseconds(10);
  uint32_t short_suffix_tokens = 64;  // fewer missing tokens than this: no prefill worker
  uint32_t max_attempts = 2;          // remote fills within an epoch
  uint32_t io_threads = 1;
};

enum class KvTypeChoice : uint8_t { kF16, kF32 };
enum class BackendChoice : uint8_t { kAuto, kReference, kCpu };
enum class NumericsChoice : uint8_t {
  kStrict,  // only workers of one numeric profile pair
  kMixed,
};

struct WorkerConfig : CommonConfig {
  std::string name;              // empty: role and process id
  uint32_t threads = 0;          // compute threads; 0: all cores
  uint32_t kv_blocks = 0;        // KV cache size in blocks; 0: from kv_memory
  uint64_t kv_memory_bytes = 0;  // KV cache size in bytes; 0: a share of the machine's memory
  KvTypeChoice kv_type = KvTypeChoice::kF16;
  BackendChoice backend = BackendChoice::kAuto;
  uint32_t max_model_len = 0;  // tokens of prompt and output; 0: the model's own
  uint32_t max_sequences = 64;
  uint32_t reserve_blocks = 0;  // never booked
  // The first step after a pause waits this long for more bulk work to join it.
  Duration batch_window{};
  NumericsChoice numerics = NumericsChoice::kStrict;
  std::string transport =
      "auto";  // KV transport: auto, or a name the worker's transfer library knows
  std::string metrics_host = "127.0.0.1";
  uint16_t metrics_port = 0;  // 0: any free port
};

struct PrefillConfig : WorkerConfig {
  uint32_t chunk_tokens = 512;  // tokens of one step, of all jobs together; a multiple of 16
  // Longest step with interactive jobs; zero: only chunk_tokens counts. Bulk work beside them
  // stretches it by no more than kMaxStretch in any case.
  Duration step_budget = std::chrono::seconds(1);
};

struct DecodeConfig : WorkerConfig {
  uint32_t chunk_tokens = 512;       // tokens of one sequence filled in one step
  uint32_t max_batch_tokens = 1024;  // of all sequences in a step
  uint32_t max_prefill_tokens_per_step =
      256;  // local filling beside running streams: bounds their stalls
  // Longest step in which interactive sequences decode and others fill, or bulk ones decode; zero:
  // twice the interactive decoding.
  Duration step_budget{};
};

// One "KEY=VALUE" per element, as in environ.
using Environment = absl::Span<const std::string>;

// `args` without the program's name. INVALID_ARGUMENT says what to correct, in one line.
absl::StatusOr<RouterConfig> ParseRouterConfig(absl::Span<const std::string> args,
                                               Environment environment);
absl::StatusOr<PrefillConfig> ParsePrefillConfig(absl::Span<const std::string> args,
                                                 Environment environment);
absl::StatusOr<DecodeConfig> ParseDecodeConfig(absl::Span<const std::string> args,
                                               Environment environment);

// For main: the process's own arguments and environment.
absl::StatusOr<RouterConfig> ParseRouterConfig(int argc, char** argv, char** envp);
absl::StatusOr<PrefillConfig> ParsePrefillConfig(int argc, char** argv, char** envp);
absl::StatusOr<DecodeConfig> ParseDecodeConfig(int argc, char** argv, char** envp);

}  // namespace tandem
