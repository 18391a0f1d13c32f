// The router over real sockets, with fake workers behind it.
#include "router/router_service.h"

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/router/fake_workers.h"
#include "tests/router/openai/tiny_text_model.h"
#include "tests/router/raw_http_client.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;
using ::testing::HasSubstr;

class RouterServiceTest : public ::testing::Test {
 protected:
  RouterServiceTest() { config_.max_body_bytes = 100'000; }

  void StartRouter(Script script = Script::kEcho) {
    config_.listen_port = 0;
    config_.decode = {{"127.0.0.1", 1}};
    RouterModel model{
        .text = {TinyTokenizer(),
                 *ChatTemplate::Parse("{% for m in messages %}{{ m.content }}{% endfor %}", {})},
        .name = "tiny",
        .fingerprint = "",
        .context_length = 4096};
    auto service = RouterService::Start(config_, std::move(model), [&](SessionClientSink* sink) {
      auto workers = std::make_unique<FakeWorkers>(sink, script);
      workers_ = workers.get();
      return workers;
    });
    ASSERT_TRUE(service.ok()) << service.status();
    service_ = *std::move(service);
    // The worker's hello is handled by then.
    RawHttpClient client(port());
    while (client.Get("/ready").status != 200) std::this_thread::yield();
  }
  uint16_t port() const { return service_->port(); }

  // Until /metrics shows `value`.
  void WaitForGauge(const std::string& name, int value) {
    RawHttpClient client(port());
    for (int tries = 0; tries < 100'000; ++tries) {
      const std::string body = client.Get("/metrics").body;
      for (absl::string_view line : absl::StrSplit(body, '\n')) {
        if (absl::StartsWith(line, name) && absl::EndsWith(line, absl::StrCat(" ", value))) return;
      }
      std::this_thread::yield();
    }
    FAIL() << name << " never became " << value;
  }

  void WaitForRequests(absl::string_view endpoint, absl::string_view status_class, int value) {
    WaitForGauge(
        absl::StrCat("tandem_requests_total{endpoint=\"", endpoint,
                     "\",model_name=\"tiny\",role=\"router\",status_class=\"", status_class, "\"}"),
        value);
  }

  RouterConfig config_;
  FakeWorkers* workers_ = nullptr;
  std::unique_ptr<RouterService> service_;
};

TEST_F(RouterServiceTest, AnswersWholeCompletionsAndChats) {
  StartRouter();
  RawHttpClient client(port());
  RawResponse r =
      client.Post("/v1/completions", R"({"model":"tiny","prompt":"ab","max_tokens":3})");
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.headers["content-type"], "application/json");
  ordered_json json = ordered_json::parse(r.body);
  EXPECT_EQ(json["object"], "text_completion");
  EXPECT_EQ(json["choices"][0]["text"], "bbb");
  EXPECT_EQ(json["usage"]["completion_tokens"], 3);

  r = client.Post("/v1/chat/completions",
                  R"({"messages":[{"role":"user","content":"xy"}],"max_tokens":2})");
  json = ordered_json::parse(r.body);
  EXPECT_EQ(json["choices"][0]["message"]["content"], "yy");
  EXPECT_EQ(json["choices"][0]["finish_reason"], "length");
}

TEST_F(RouterServiceTest, StreamsServerSentEvents) {
  StartRouter();
  RawHttpClient client(port());
  for (int i = 0; i < 2; ++i) {  // the connection is used again after a stream
    const RawResponse r =
        client.Post("/v1/chat/completions",
                    R"({"messages":[{"role":"user","content":"z"}],"max_tokens":2,"stream":true,
            "stream_options":{"include_usage":true}})",
                    "X-Request-Id: my-id\r\n");
    EXPECT_EQ(r.status, 200);
    EXPECT_EQ(r.headers.at("content-type"), "text/event-stream; charset=utf-8");
    EXPECT_EQ(r.headers.at("cache-control"), "no-cache");
    EXPECT_EQ(r.headers.at("x-request-id"), "my-id");
    EXPECT_TRUE(absl::EndsWith(r.body, "\n\ndata: [DONE]\n\n"));
    EXPECT_THAT(r.body, HasSubstr(R"("choices":[],"usage":{"prompt_tokens":1)"));
  }
}

TEST_F(RouterServiceTest, SimpleEndpoints) {
  StartRouter();
  RawHttpClient client(port());
  for (const char* path : {"/health", "/live", "/livez", "/ready", "/readyz", "/version"}) {
    EXPECT_EQ(client.Get(path).status, 200) << path;
  }
  EXPECT_EQ(ordered_json::parse(client.Get("/v1/models").body)["data"][0]["id"], "tiny");
  EXPECT_EQ(client.Get("/v1/models/tiny").status, 200);
  EXPECT_EQ(client.Get("/v1/models/other").status, 404);
  RawResponse metrics = client.Get("/metrics?x=1");
  EXPECT_EQ(metrics.headers["content-type"], kMetricsContentType);
  EXPECT_THAT(metrics.body, HasSubstr("tandem_"));
  client.Send("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  const RawResponse head = client.Receive(/*head=*/true);
  EXPECT_EQ(head.status, 200);
  EXPECT_NE(head.headers.at("content-length"), "0");
  EXPECT_EQ(client.Get("/live").status, 200);  // no body was left on the connection
  EXPECT_EQ(ordered_json::parse(client.Post("/tokenize", R"({"prompt":"ab"})").body)["tokens"],
            ordered_json({97, 98}));
  EXPECT_EQ(ordered_json::parse(client.Post("/detokenize", R"({"tokens":[97,98]})").body)["prompt"],
            "ab");
}

TEST_F(RouterServiceTest, EveryAnswerHasARequestId) {
  StartRouter();
  RawHttpClient client(port());
  EXPECT_EQ(client.Get("/live").headers.at("x-request-id").size(), 32u);
  EXPECT_NE(client.Get("/live").headers.at("x-request-id"),
            client.Get("/live").headers.at("x-request-id"));
  EXPECT_EQ(client.Post("/v1/completions", "{", "X-Request-ID: abc\r\n").headers.at("x-request-id"),
            "abc");
}

TEST_F(RouterServiceTest, BadRequestsGetErrorBodiesAndTheRouterGoesOn) {
  StartRouter();
  RawHttpClient client(port());
  struct Case {
    const char* path;
    std::string body;
    int status;
    const char* param;
  };
  const Case cases[] = {
      {"/v1/completions", "{", 400, nullptr},
      {"/v1/completions", "", 400, nullptr},
      {"/v1/completions", R"({"prompt":5})", 400, "prompt"},
      {"/v1/completions", R"({"prompt":"a","temperature":3})", 400, "temperature"},
      {"/v1/completions", R"({"prompt":"a","max_tokens":2000000})", 400, "max_tokens"},
      {"/v1/completions", R"({"prompt":[999]})", 400, "prompt"},
      {"/v1/completions", R"({"prompt":"a","model":"gpt-4"})", 404, "model"},
      {"/v1/chat/completions", R"({"messages":[]})", 400, "messages"},
      {"/tokenize", R"({})", 400, "prompt"},
      {"/v1/nothing", "{}", 404, nullptr},
      {"/v1/models", "{}", 405, nullptr},
  };
  for (const Case& c : cases) {
    const RawResponse r = client.Post(c.path, c.body);
    ASSERT_EQ(r.status, c.status) << c.path << " " << c.body;
    const ordered_json error = ordered_json::parse(r.body)["error"];
    EXPECT_EQ(error["code"], c.status);
    EXPECT_EQ(error["param"], c.param == nullptr ? ordered_json() : ordered_json(c.param));
    EXPECT_FALSE(error["message"].get<std::string>().empty());
  }
  EXPECT_EQ(client.Get("/v1/completions").status, 405);
  for (const char* method : {"DELETE", "PUT", "OPTIONS"}) {
    for (const auto& [path, allow] :
         {std::pair("/v1/models", "GET, HEAD"), std::pair("/v1/completions", "POST")}) {
      client.Send(absl::StrCat(method, " ", path, " HTTP/1.1\r\nHost: x\r\n\r\n"));
      const RawResponse r = client.Receive();
      EXPECT_EQ(r.status, 405);
      EXPECT_EQ(r.headers.at("allow"), allow) << method << " " << path;
    }
  }
  EXPECT_EQ(client.Post("/v1/completions", R"({"prompt":"a","max_tokens":1})").status, 200);
}

TEST_F(RouterServiceTest, ErrorsRepeatLittleOfWhatTheClientSent) {
  StartRouter();
  RawHttpClient client(port());
  const RawResponse r =
      client.Post("/v1/completions",
                  absl::StrCat(R"({"prompt":"a","model":")", std::string(50'000, 'm'), R"("})"));
  EXPECT_EQ(r.status, 404);
  EXPECT_LT(r.body.size(), 4096);
}

// Read as a request without a body, what follows would pass for the next request.
TEST_F(RouterServiceTest, OtherTransferCodingsAreRefusedAndClosed) {
  StartRouter();
  for (const char* coding : {"gzip", "gzip, chunked", "chunked, gzip", "identity"}) {
    RawHttpClient client(port());
    client.Send(absl::StrCat("POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: ", coding,
                             "\r\n\r\n0\r\n\r\n"));
    EXPECT_EQ(client.Receive().status, 501) << coding;
    EXPECT_TRUE(client.PeerCloses()) << coding;
  }
}

TEST_F(RouterServiceTest, BrokenHttpIsRefusedAndClosed) {
  StartRouter();
  const std::pair<std::string, int> cases[] = {
      {"nonsense\r\n\r\n", 400},
      {"GET /live HTTP/9.9\r\n\r\n", 400},
      {"POST /v1/completions HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
       "0\r\n\r\n",
       400},
      {"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
       "0\r\n\r\n",
       400},
      {"POST /v1/completions HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400},
      {"POST /v1/completions HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400},
      {"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
      {"POST /v1/completions HTTP/1.1\r\nContent-Length: 100001\r\n\r\n", 413},
      {absl::StrCat("GET /live HTTP/1.1\r\nX: ", std::string(40000, 'a'), "\r\n\r\n"), 431},
  };
  for (const auto& [bytes, status] : cases) {
    RawHttpClient client(port());
    client.Send(bytes);
    const RawResponse r = client.Receive();
    EXPECT_EQ(r.status, status) << bytes.substr(0, 100);
    if (r.status != 0) {
      EXPECT_EQ(ordered_json::parse(r.body)["error"]["code"], status);
    }
    EXPECT_TRUE(client.PeerCloses());
  }
}

TEST_F(RouterServiceTest, OversizeBodyGets413EvenWhileItIsStillSent) {
  StartRouter();
  RawHttpClient client(port());
  const RawResponse r = client.Post("/v1/completions", std::string(3'000'000, 'a'));
  EXPECT_EQ(r.status, 413);
  RawHttpClient chunked(port());
  chunked.Send("POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 200; ++i) chunked.Send("400\r\n" + std::string(0x400, 'a') + "\r\n");
  EXPECT_EQ(chunked.Receive().status, 413);
}

TEST_F(RouterServiceTest, PipelinedRequestsAreAnsweredInOrder) {
  StartRouter();
  RawHttpClient client(port());
  std::string bytes;
  for (char c = 'a'; c <= 'e'; ++c) {
    const std::string body =
        absl::StrCat(R"({"prompt":")", std::string(1, c), R"(","max_tokens":1})");
    absl::StrAppend(&bytes, "POST /v1/completions HTTP/1.1\r\nContent-Length: ", body.size(),
                    "\r\n\r\n", body);
  }
  client.Send(bytes);
  for (char c = 'a'; c <= 'e'; ++c) {
    EXPECT_EQ(ordered_json::parse(client.Receive().body)["choices"][0]["text"], std::string(1, c));
  }
  client.Send("GET /live HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(client.Receive().status, 200);
  EXPECT_TRUE(client.PeerCloses());
}

TEST_F(RouterServiceTest, ExpectContinueAndHttp10AreServed) {
  StartRouter();
  RawHttpClient client(port());
  const std::string body = R"({"prompt":"a","max_tokens":1})";
  client.Send(absl::StrCat(
      "POST /v1/completions HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: ", body.size(),
      "\r\n\r\n"));
  ASSERT_TRUE(client.ReceiveUntil("HTTP/1.1 100 Continue\r\n\r\n"));
  client.Send(body);
  ASSERT_TRUE(client.ReceiveUntil("\"finish_reason\":\"length\""));

  RawHttpClient old(port());
  const std::string stream = R"({"prompt":"a","max_tokens":2,"stream":true})";
  old.Send(absl::StrCat("POST /v1/completions HTTP/1.0\r\nContent-Length: ", stream.size(),
                        "\r\n\r\n", stream));
  const RawResponse r = old.Receive();  // ends with the connection
  EXPECT_EQ(r.status, 200);
  EXPECT_TRUE(absl::EndsWith(r.body, "data: [DONE]\n\n"));
}

TEST_F(RouterServiceTest, ClientThatLeavesCancelsItsRequest) {
  StartRouter(Script::kSilent);
  RawHttpClient stream(port());
  const std::string body = R"({"prompt":"a","max_tokens":9,"stream":true})";
  stream.Send(absl::StrCat("POST /v1/completions HTTP/1.1\r\nContent-Length: ", body.size(),
                           "\r\n\r\n", body));
  ASSERT_TRUE(stream.ReceiveUntil("data: "));
  stream.Close();
  EXPECT_TRUE(workers_->WaitForCancels(1));

  RawHttpClient whole(port());
  const std::string unary = R"({"prompt":"a","max_tokens":9})";
  whole.Send(absl::StrCat("POST /v1/completions HTTP/1.1\r\nContent-Length: ", unary.size(),
                          "\r\n\r\n", unary));
  WaitForGauge("tandem_requests_running", 1);
  whole.Close();
  EXPECT_TRUE(workers_->WaitForCancels(2));
}

TEST_F(RouterServiceTest, ClientThatClosesItsSendingSideIsAnswered) {
  StartRouter();
  for (const char* version : {"1.1", "1.0"}) {
    for (const char* stream : {"false", "true"}) {
      RawHttpClient client(port());
      const std::string body =
          absl::StrCat(R"({"prompt":"a","max_tokens":3,"stream":)", stream, "}");
      client.Send(absl::StrCat("POST /v1/completions HTTP/", version,
                               "\r\nContent-Length: ", body.size(), "\r\n\r\n", body));
      client.CloseSending();
      const RawResponse r = client.Receive();
      EXPECT_EQ(r.status, 200);
      EXPECT_THAT(r.body, HasSubstr(R"("finish_reason":"length")"));
      EXPECT_TRUE(client.PeerCloses());
    }
  }
}

TEST_F(RouterServiceTest, ClientThatClosesItsSendingSideInTheMiddleKeepsItsStream) {
  StartRouter(Script::kSilent);
  RawHttpClient client(port());
  const std::string body = R"({"prompt":"a","max_tokens":9,"stream":true})";
  client.Send(absl::StrCat("POST /v1/completions HTTP/1.1\r\nContent-Length: ", body.size(),
                           "\r\n\r\n", body));
  ASSERT_TRUE(client.ReceiveUntil("data: "));
  client.CloseSending();
  ASSERT_TRUE(client.ReceiveUntil("3\r\n:\n\n\r\n"));  // asked whether it is still there
  WaitForGauge("tandem_requests_running", 1);
}

TEST_F(RouterServiceTest, EveryEndOfARequestIsCounted) {
  StartRouter(Script::kSilent);
  const auto post = [](const std::string& body) {
    return absl::StrCat("POST /v1/completions HTTP/1.1\r\nContent-Length: ", body.size(),
                        "\r\n\r\n", body);
  };
  RawHttpClient unreadable(port());
  unreadable.Send("nonsense\r\n\r\n");
  EXPECT_EQ(unreadable.Receive().status, 400);
  WaitForRequests("other", "4xx", 1);
  RawHttpClient bad(port());
  bad.Send(post("{}"));
  EXPECT_EQ(bad.Receive().status, 400);
  WaitForRequests("completions", "4xx", 1);
  // Long enough that it has left, as a rule, before its prompt has become tokens.
  RawHttpClient gone(port());
  gone.Send(post(R"({"prompt":")" + std::string(90'000, 'a') + R"(","max_tokens":9})"));
  gone.Close();
  WaitForGauge("tandem_requests_cancelled_total", 1);
}

TEST_F(RouterServiceTest, SlowReaderIsCutOffAndOthersAreServed) {
  StartRouter();
  RawHttpClient slow(port());
  const std::string body = R"({"prompt":"a","max_tokens":50000,"stream":true})";
  slow.Send(absl::StrCat("POST /v1/completions HTTP/1.1\r\nContent-Length: ", body.size(),
                         "\r\n\r\n", body));
  RawHttpClient other(port());
  EXPECT_EQ(other.Post("/v1/completions", R"({"prompt":"a","max_tokens":1})").status, 200);
  EXPECT_EQ(slow.Receive().status, 0);  // cut off in the middle
  WaitForGauge("tandem_requests_cancelled_total", 1);
  WaitForRequests("completions", "2xx", 1);  // the other
}

TEST_F(RouterServiceTest, FullWorkersGive429WithRetryAfter) {
  config_.max_queue = 0;
  StartRouter(Script::kFull);
  RawHttpClient waiting(port());  // admitted, refused by the worker, waits
  const std::string body = R"({"prompt":"a","max_tokens":1})";
  waiting.Send(absl::StrCat("POST /v1/completions HTTP/1.1\r\nContent-Length: ", body.size(),
                            "\r\n\r\n", body));
  RawHttpClient client(port());
  WaitForGauge("tandem_requests_waiting", 1);
  const RawResponse r = client.Post("/v1/completions", body);
  EXPECT_EQ(r.status, 429);
  EXPECT_NE(r.headers.count("retry-after"), 0u);
  EXPECT_NE(r.headers.count("retry-after-ms"), 0u);
}

TEST_F(RouterServiceTest, StopLetsAnswersCompleteAndEndsTheRestWithAnError) {
  StartRouter(Script::kSilent);
  RawHttpClient idle(port());
  EXPECT_EQ(idle.Get("/live").status, 200);
  RawHttpClient stuck(port());
  const std::string body = R"({"prompt":"a","max_tokens":9,"stream":true})";
  stuck.Send(absl::StrCat("POST /v1/completions HTTP/1.1\r\nContent-Length: ", body.size(),
                          "\r\n\r\n", body));
  ASSERT_TRUE(stuck.ReceiveUntil("data: "));
  service_->Stop(std::chrono::milliseconds(50));
  EXPECT_TRUE(idle.PeerCloses());
  EXPECT_TRUE(stuck.ReceiveUntil("the router is shutting down"));
  EXPECT_TRUE(stuck.ReceiveUntil("data: [DONE]"));
  EXPECT_TRUE(stuck.PeerCloses());
  RawHttpClient late(port());
  EXPECT_EQ(late.Get("/live").status, 0);
}

// What waits for the text thread then belongs to connections of a server that ends: seen by the
// address sanitizer and valgrind.
TEST_F(RouterServiceTest, StopsWhileRequestsWaitForTheirTokens) {
  config_.max_body_bytes = 4 << 20;
  StartRouter(Script::kSilent);
  const std::string body = absl::StrCat(R"({"stream":true,"max_tokens":9,"prompt":")",
                                        std::string(config_.max_body_bytes - 100, 'a'), R"("})");
  std::vector<std::unique_ptr<RawHttpClient>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<RawHttpClient>(port()));
    clients.back()->Send(absl::StrCat(
        "POST /v1/completions HTTP/1.1\r\nContent-Length: ", body.size(), "\r\n\r\n", body));
  }
  service_->Stop(Duration::zero());
  service_.reset();
  for (const auto& client : clients) EXPECT_TRUE(client->PeerCloses());
}

TEST_F(RouterServiceTest, BusyPortIsAnError) {
  StartRouter();
  config_.listen_port = port();
  RouterModel model{.text = {TinyTokenizer(), std::nullopt}, .name = "tiny"};
  const auto second = RouterService::Start(config_, std::move(model), [](SessionClientSink* sink) {
    return std::make_unique<FakeWorkers>(sink, Script::kEcho);
  });
  EXPECT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("cannot listen"));
}

}  // namespace
}  // namespace tandem
