#include "common/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/config/port_file.h"

namespace tandem {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

using Strings = std::vector<std::string>;

// A file that lives as long as this object.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text)
      : path_(absl::StrCat(::testing::TempDir(), "/config_test_", getpid(), "_", ++counter_)) {
    std::ofstream(path_) << text;
  }
  ~TemporaryFile() { unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  static inline int counter_ = 0;
  std::string path_;
};

Strings RouterArgs(Strings more) {
  Strings args = {"--model", "m.gguf", "--decode", "127.0.0.1:9001"};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

std::string RouterError(const Strings& args, const Strings& environment = {}) {
  const auto config = ParseRouterConfig(args, environment);
  return config.ok() ? "no error" : std::string(config.status().message());
}

std::string RouterErrorWith(Strings more, const Strings& environment = {}) {
  return RouterError(RouterArgs(std::move(more)), environment);
}

std::string FileError(const std::string& text) {
  const TemporaryFile file(text);
  return RouterErrorWith({"--config", file.path()});
}

TEST(RouterConfigTest, DefaultsAreThoseOfTheHeader) {
  const auto config = ParseRouterConfig(RouterArgs({}), {});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->listen_port, 8000);
  EXPECT_EQ(config->max_body_bytes, 4u << 20);
  EXPECT_EQ(config->request_timeout, std::chrono::seconds(600));
  EXPECT_THAT(config->decode, ElementsAre(HostPort{"127.0.0.1", 9001}));
  EXPECT_TRUE(config->prefill.empty());
  EXPECT_EQ(config->info_text, "");
}

TEST(RouterConfigTest, FlagsWinOverEnvironmentOverFile) {
  const TemporaryFile file("max_queue: 1\nmax_attempts: 1\nio_threads: 1\n");
  const auto config =
      ParseRouterConfig(RouterArgs({"--config", file.path(), "--max-queue", "3"}),
                        Strings{"TANDEM_MAX_QUEUE=2", "TANDEM_MAX_ATTEMPTS=5", "HOME=/"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->max_queue, 3);
  EXPECT_EQ(config->max_attempts, 5);
  EXPECT_EQ(config->io_threads, 1);
}

TEST(RouterConfigTest, FileMayBeNamedByTheEnvironment) {
  const TemporaryFile file("max_queue: 7");
  const auto config = ParseRouterConfig(RouterArgs({}), Strings{"TANDEM_CONFIG=" + file.path()});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->max_queue, 7);
}

TEST(RouterConfigTest, ListsComeFromCommasRepeatedFlagsAndYamlLists) {
  const TemporaryFile file("prefill: [\"[::1]:1\", 'host:2']\n");
  const auto config = ParseRouterConfig(
      Strings{"--config", file.path(), "--model=m", "--decode=a:1,b:2", "--decode", "c:3"}, {});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->prefill, ElementsAre(HostPort{"::1", 1}, HostPort{"host", 2}));
  EXPECT_THAT(config->decode, ElementsAre(HostPort{"a", 1}, HostPort{"b", 2}, HostPort{"c", 3}));
  EXPECT_EQ(config->prefill[0].ToString(), "[::1]:1");
}

TEST(RouterConfigTest, UnitsAreRead) {
  const auto config =
      ParseRouterConfig(RouterArgs({"--max-body-bytes", "2MiB", "--request-timeout", "1.5m",
                                    "--fallback-base", "250ms", "--fallback-per-token", "0.5ms"}),
                        {});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->max_body_bytes, 2u << 20);
  EXPECT_EQ(config->request_timeout, std::chrono::seconds(90));
  EXPECT_EQ(config->fallback_base, std::chrono::milliseconds(250));
  EXPECT_EQ(config->fallback_per_token, std::chrono::microseconds(500));
}

TEST(RouterConfigTest, UnknownFlagNamesTheNearest) {
  EXPECT_EQ(RouterErrorWith({"--max-que", "3"}),
            "unknown flag --max-que; did you mean --max-queue? See --help");
  EXPECT_EQ(RouterErrorWith({"--max_queue", "3"}),
            "unknown flag --max_queue; did you mean --max-queue? See --help");
  EXPECT_EQ(RouterErrorWith({"--zzzzzzzzzzzz", "3"}), "unknown flag --zzzzzzzzzzzz; see --help");
}

TEST(RouterConfigTest, UnknownVariableNamesTheNearest) {
  EXPECT_EQ(RouterErrorWith({}, {"TANDEM_LISTEN_PROT=1"}),
            "unknown environment variable TANDEM_LISTEN_PROT; did you mean TANDEM_LISTEN_PORT?");
}

TEST(RouterConfigTest, VariablesOfScriptsAreNoSettings) {
  EXPECT_EQ(RouterErrorWith({}, {"TANDEM_TEST_MODEL=m", "TANDEM_CACHE=/c"}), "no error");
  EXPECT_THAT(RouterErrorWith({}, {"TANDEM_CACHES=/c"}),
              HasSubstr("unknown environment variable TANDEM_CACHES"));
}

TEST(RouterConfigTest, UnknownKeyNamesLineAndNearest) {
  EXPECT_THAT(FileError("max_queue: 1\nmax-attempts: 1\n"),
              HasSubstr(":2: unknown key max-attempts; did you mean max_attempts?"));
}

TEST(RouterConfigTest, ValuesOutOfRangeSayWhatIsExpected) {
  EXPECT_EQ(RouterErrorWith({"--listen-port", "65536"}),
            "--listen-port: '65536' is not a port from 0 to 65535");
  EXPECT_EQ(RouterErrorWith({"--io-threads", "0"}),
            "--io-threads: '0' is not a number from 1 to 64");
  EXPECT_EQ(RouterErrorWith({}, {"TANDEM_IO_THREADS=-1"}),
            "TANDEM_IO_THREADS: '-1' is not a number from 1 to 64");
  EXPECT_THAT(RouterErrorWith({"--io-threads", "2x"}), HasSubstr("'2x' is not"));
  EXPECT_THAT(RouterErrorWith({"--io-threads", ""}), HasSubstr("'' is not"));
  EXPECT_THAT(RouterErrorWith({"--max-body-bytes", "4 MB"}), HasSubstr("a size from 1KiB to 1GiB"));
  EXPECT_THAT(RouterErrorWith({"--max-body-bytes", "99999999999GiB"}), HasSubstr("a size from"));
  EXPECT_THAT(RouterErrorWith({"--request-timeout", "0s"}), HasSubstr("a time from"));
  EXPECT_THAT(RouterErrorWith({"--request-timeout", "1e3"}), HasSubstr("a time from"));
  EXPECT_THAT(RouterErrorWith({"--log-level", "loud"}),
              HasSubstr("one of error, warn, info, debug"));
  EXPECT_THAT(FileError("io_threads: many\n"), HasSubstr(":1: io_threads: 'many' is not"));
}

TEST(RouterConfigTest, BadAddressesAreRefused) {
  for (const char* bad :
       {"host", "host:", "host:0", "host:65536", ":1", "::1:80", "h:1x", "a b:1"}) {
    EXPECT_THAT(RouterErrorWith({"--prefill", bad}), HasSubstr("is not host:port")) << bad;
  }
  EXPECT_THAT(RouterErrorWith({"--prefill", "a:1,a:1"}), HasSubstr("a:1 occurs twice"));
}

TEST(RouterConfigTest, RequiredSettingsAreNamed) {
  EXPECT_THAT(RouterError({"--decode", "a:1"}), HasSubstr("--model is required"));
  EXPECT_THAT(RouterError({"--model", "m"}), HasSubstr("--decode is required"));
}

TEST(RouterConfigTest, MalformedCommandLinesAreRefused) {
  EXPECT_THAT(RouterErrorWith({"model.gguf"}), HasSubstr("'model.gguf' is not a flag"));
  EXPECT_EQ(RouterErrorWith({"--max-queue"}), "--max-queue needs a value");
  EXPECT_EQ(RouterErrorWith({"--max-queue", "1", "--max-queue", "2"}),
            "--max-queue is given twice");
}

TEST(RouterConfigTest, MalformedFilesAreRefused) {
  EXPECT_THAT(RouterErrorWith({"--config", "/nowhere/x.yaml"}), HasSubstr("cannot be read"));
  EXPECT_THAT(RouterErrorWith({"--config", "/tmp"}), HasSubstr("/tmp: cannot be read"));
  EXPECT_THAT(FileError("a: [1, 2"), HasSubstr(":"));
  EXPECT_THAT(FileError("- 1\n- 2\n"), HasSubstr("not a mapping"));
  EXPECT_THAT(FileError("max_queue: {a: 1}\n"), HasSubstr(":1: max_queue: a plain value"));
  EXPECT_THAT(FileError("max_queue: 1\nmax_queue: 2\n"), HasSubstr(":2: max_queue is given twice"));
  EXPECT_EQ(FileError(""), "no error");
  EXPECT_EQ(FileError("max_queue:\n"), "no error");
}

TEST(RouterConfigTest, SecretComesFromEnvironmentOrFileOnly) {
  const std::string secret = "0123456789abcdef";
  const auto config = ParseRouterConfig(RouterArgs({}), Strings{"TANDEM_CLUSTER_SECRET=" + secret});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->cluster_secret, secret);
  EXPECT_EQ(FileError("cluster_secret: " + secret), "no error");
  const std::string on_command_line = RouterErrorWith({"--cluster-secret", secret});
  EXPECT_THAT(on_command_line, HasSubstr("TANDEM_CLUSTER_SECRET"));
  EXPECT_THAT(on_command_line, Not(HasSubstr(secret)));
  const std::string too_short = RouterErrorWith({}, {"TANDEM_CLUSTER_SECRET=hunter2"});
  EXPECT_THAT(too_short, HasSubstr("at least 16"));
  EXPECT_THAT(too_short, Not(HasSubstr("hunter2")));
}

TEST(RouterConfigTest, HelpAndVersionNeedNothingElse) {
  const auto help = ParseRouterConfig(Strings{"--help"}, {});
  ASSERT_TRUE(help.ok()) << help.status();
  EXPECT_THAT(help->info_text, HasSubstr("--max-body-bytes SIZE"));
  EXPECT_THAT(help->info_text, HasSubstr("[4MiB]"));
  EXPECT_THAT(help->info_text, HasSubstr("TANDEM_CLUSTER_SECRET"));
  EXPECT_THAT(help->info_text, HasSubstr("TIME is a number with us, ms, s, m or h"));
  EXPECT_THAT(help->info_text, HasSubstr("SIZE is a whole number with KiB, MiB or GiB"));
  const auto version = ParseRouterConfig(Strings{"--version"}, {});
  ASSERT_TRUE(version.ok()) << version.status();
  EXPECT_THAT(version->info_text, HasSubstr("tandem-router "));
}

TEST(WorkerConfigTest, ChoicesAndSizesAreRead) {
  const auto config = ParseDecodeConfig(
      Strings{"--model", "m", "--kv-type", "f32", "--backend", "reference", "--numerics", "mixed",
              "--kv-memory", "1GiB", "--threads", "2", "--max-prefill-tokens-per-step", "64"},
      {});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->kv_type, KvTypeChoice::kF32);
  EXPECT_EQ(config->backend, BackendChoice::kReference);
  EXPECT_EQ(config->numerics, NumericsChoice::kMixed);
  EXPECT_EQ(config->kv_memory_bytes, 1u << 30);
  EXPECT_EQ(config->threads, 2);
  EXPECT_EQ(config->max_prefill_tokens_per_step, 64);
  EXPECT_EQ(config->listen_port, 0);
}

TEST(WorkerConfigTest, SettingsThatWouldDoNothingAreUnknown) {
  const auto error = [](const auto& config) { return std::string(config.status().message()); };
  EXPECT_THAT(error(ParseDecodeConfig(Strings{"--model", "m", "--transfer-host", "a"}, {})),
              HasSubstr("unknown flag --transfer-host"));
  EXPECT_THAT(error(ParsePrefillConfig(Strings{"--model", "m", "--max-batch-tokens", "64"}, {})),
              HasSubstr("unknown flag --max-batch-tokens"));
}

TEST(WorkerConfigTest, SettingsThatContradictAreRefused) {
  const auto error = [](const auto& config) { return std::string(config.status().message()); };
  EXPECT_THAT(error(ParseDecodeConfig(
                  Strings{"--model", "m", "--kv-blocks", "8", "--kv-memory", "1MiB"}, {})),
              HasSubstr("give one"));
  EXPECT_THAT(error(ParseDecodeConfig(
                  Strings{"--model", "m", "--kv-blocks", "8", "--reserve-blocks", "8"}, {})),
              HasSubstr("leaves none"));
  EXPECT_THAT(
      error(ParseDecodeConfig(
          Strings{"--model", "m", "--max-batch-tokens", "32", "--max-sequences", "33"}, {})),
      HasSubstr("less than --max-sequences"));
  EXPECT_THAT(error(ParsePrefillConfig(Strings{"--model", "m", "--chunk-tokens", "100"}, {})),
              HasSubstr("multiple of 16"));
  EXPECT_THAT(error(ParsePrefillConfig(Strings{"--model", "m", "--decode", "a:1"}, {})),
              HasSubstr("unknown flag --decode"));
}

TEST(WorkerConfigTest, BothWorkersTakeABatchWindowOfUpToATenthOfASecond) {
  const auto decode = ParseDecodeConfig(Strings{"--model", "m", "--batch-window-ms", "100"}, {});
  ASSERT_TRUE(decode.ok()) << decode.status();
  EXPECT_EQ(decode->batch_window, std::chrono::milliseconds(100));
  const auto prefill = ParsePrefillConfig(Strings{"--model", "m"}, {});
  ASSERT_TRUE(prefill.ok()) << prefill.status();
  EXPECT_EQ(prefill->batch_window, Duration::zero());
  const auto longer = ParsePrefillConfig(Strings{"--model", "m", "--batch-window-ms", "101"}, {});
  EXPECT_THAT(std::string(longer.status().message()), HasSubstr("batch-window-ms"));
}

TEST(PortFileTest, HoldsThePortAndNothingElseIsLeft) {
  const TemporaryFile file("old");
  ASSERT_TRUE(WritePortFile(file.path(), 12345).ok());
  std::ifstream in(file.path());
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "12345\n");
  EXPECT_NE(access((file.path() + ".new").c_str(), F_OK), 0);
}

TEST(PortFileTest, UnwritableFolderIsNamed) {
  const absl::Status status = WritePortFile("/nowhere/port", 1);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nowhere/port"));
  EXPECT_TRUE(WritePortFile("", 1).ok());
}

}  // namespace
}  // namespace tandem
