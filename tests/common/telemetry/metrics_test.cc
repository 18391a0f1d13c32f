#include "common/telemetry/metrics.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "common/telemetry/router_metrics.h"
#include "common/telemetry/worker_metrics.h"

namespace tandem {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Get(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string reply;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    (void)!write(fd, request.data(), request.size());
    char buffer[4096];
    for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;) reply.append(buffer, n);
  }
  close(fd);
  return reply;
}

TEST(MetricsTest, RouterSeriesExistAtZeroBeforeAnythingHappens) {
  MetricsRegistry registry("router", "smol", "0.1");
  const RouterMetrics metrics(&registry);
  const std::string text = registry.RenderMetrics();
  EXPECT_THAT(text, HasSubstr("# TYPE tandem_requests_total counter"));
  EXPECT_THAT(text,
              HasSubstr("tandem_requests_total{endpoint=\"chat_completions\",model_name=\"smol\","
                        "role=\"router\",status_class=\"5xx\"} 0"));
  EXPECT_THAT(text, HasSubstr("tandem_time_to_first_token_seconds_count{"));
  EXPECT_THAT(text, HasSubstr("tandem_build_info{"));
  EXPECT_THAT(text, HasSubstr("version=\"0.1\"} 1"));
}

TEST(MetricsTest, WorkerSeriesKeepTheirLabelsApart) {
  MetricsRegistry registry("decode", "smol", "0.1");
  const WorkerMetrics metrics(&registry);
  metrics.kv_blocks[BlockStateLabel::kQuarantined].Set(3);
  metrics.tokens[WorkerTokens::kGenerated].Add(7);
  metrics.step_seconds.Observe(0.003);
  EXPECT_EQ(metrics.kv_blocks[BlockStateLabel::kQuarantined].Value(), 3);
  EXPECT_EQ(metrics.kv_blocks[BlockStateLabel::kFree].Value(), 0);
  const std::string text = registry.RenderMetrics();
  EXPECT_THAT(text, HasSubstr("role=\"decode\",state=\"quarantined\"} 3"));
  EXPECT_THAT(
      text,
      HasSubstr("tandem_tokens_total{kind=\"generated\",model_name=\"smol\",role=\"decode\"} 7"));
  EXPECT_THAT(
      text, HasSubstr("tandem_step_duration_seconds_count{model_name=\"smol\",role=\"decode\"} 1"));
}

TEST(MetricsTest, RefusalsAreCountedByTheirReason) {
  MetricsRegistry registry("decode", "smol", "0.1");
  const WorkerMetrics metrics(&registry);
  metrics.fenced_messages[FenceLabel::kUnknownGrant].Add(2);
  metrics.ticket_rejects[TicketRejectLabel::kWrongPeer].Add(3);
  const std::string text = registry.RenderMetrics();
  EXPECT_THAT(text, HasSubstr("tandem_fenced_messages_total{model_name=\"smol\","
                              "reason=\"unknown_grant\",role=\"decode\"} 2"));
  EXPECT_THAT(text, HasSubstr("tandem_ticket_reject_total{model_name=\"smol\",role=\"decode\","
                              "why=\"wrong_peer\"} 3"));
}

TEST(MetricsTest, ProcessMetricsAreRendered) {
  MetricsRegistry registry("router", "smol", "0.1");
  const std::string text = registry.RenderMetrics();
  EXPECT_THAT(text, HasSubstr("process_cpu_seconds_total"));
  EXPECT_THAT(text, HasSubstr("process_resident_memory_bytes"));
  EXPECT_THAT(text, Not(HasSubstr("process_resident_memory_bytes 0")));
}

TEST(MetricsServerTest, ServesOnTheFreePortItReports) {
  MetricsRegistry registry("prefill", "smol", "0.1");
  auto server = MetricsServer::Start(registry, "127.0.0.1", 0);
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_NE((*server)->port(), 0);
  const std::string reply = Get((*server)->port());
  EXPECT_THAT(reply, HasSubstr("200 OK"));
  EXPECT_THAT(reply, HasSubstr("tandem_build_info{"));
  EXPECT_THAT(reply, HasSubstr("process_cpu_seconds_total"));
}

TEST(MetricsServerTest, BusyPortIsAnErrorThatNamesIt) {
  MetricsRegistry registry("prefill", "smol", "0.1");
  auto first = MetricsServer::Start(registry, "127.0.0.1", 0);
  ASSERT_TRUE(first.ok()) << first.status();
  auto second = MetricsServer::Start(registry, "127.0.0.1", (*first)->port());
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr("127.0.0.1:" + std::to_string((*first)->port())));
}

}  // namespace
}  // namespace tandem
