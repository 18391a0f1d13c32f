// The HTTP server alone: what needs a handler of the test's own.
#include "router/http/http_server.h"

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/router/raw_http_client.h"

namespace tandem {
namespace {

std::string Head(absl::string_view length) {
  return absl::StrCat("POST / HTTP/1.1\r\n", length, "\r\n\r\n");
}

// Room for two bodies of the longest kind. The handler keeps the first request that it is given.
class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() {
    HttpServerOptions options;
    options.max_body_bytes = 1000;
    options.max_total_body_bytes = 2000;
    options.refusal_body = [](int, const std::string& reason, const std::string&) {
      return reason;
    };
    server_ = *HttpServer::Start(
        options, [this](HttpRequest request, std::shared_ptr<ResponseWriter> writer) {
          if (!kept_.has_value()) kept_ = std::move(request);
          writer->Respond({});
        });
  }

  ~HttpServerTest() override {
    server_->Shutdown(Duration::zero(), [] {});
    kept_.reset();  // before the server: its room is the server's
  }

  int StatusOf(const std::string& bytes) {
    RawHttpClient client(server_->port());
    client.Send(bytes);
    return client.Receive().status;
  }
  void WaitForStatus(const std::string& bytes, int status) {
    for (int tries = 0; tries < 10'000 && StatusOf(bytes) != status; ++tries) {
      std::this_thread::yield();
    }
    EXPECT_EQ(StatusOf(bytes), status);
  }

  std::optional<HttpRequest> kept_;  // set on the server's thread, read when nothing is in progress
  std::unique_ptr<HttpServer> server_;
};

const std::string kLongest = absl::StrCat(Head("Content-Length: 1000"), std::string(1000, 'x'));

TEST_F(HttpServerTest, BodiesBeingReceivedAreBoundedTogether) {
  EXPECT_EQ(StatusOf(Head("Content-Length: 0")), 200);
  RawHttpClient one(server_->port());
  one.Send(Head("Content-Length: 1000"));
  RawHttpClient two(server_->port());
  two.Send(Head("Transfer-Encoding: chunked"));
  WaitForStatus(kLongest, 503);
  EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\n\r\n"), 200);  // without a body
  two.Close();
  WaitForStatus(kLongest, 200);
  one.Send(std::string(1000, 'x'));
  EXPECT_EQ(one.Receive().status, 200);
}

TEST_F(HttpServerTest, RoomStaysTakenWhileTheHandlerKeepsTheRequest) {
  EXPECT_EQ(StatusOf(kLongest), 200);
  RawHttpClient half(server_->port());
  half.Send(Head("Content-Length: 600"));
  WaitForStatus(kLongest, 503);
  kept_->body_room = nullptr;
  WaitForStatus(kLongest, 200);
}

TEST_F(HttpServerTest, ChunkedBodyKeepsNoMoreThanItsSize) {
  EXPECT_EQ(StatusOf(absl::StrCat(Head("Transfer-Encoding: chunked"), "1\r\nx\r\n0\r\n\r\n")), 200);
  RawHttpClient one(server_->port());
  one.Send(Head("Content-Length: 999"));
  WaitForStatus(kLongest, 200);
}

}  // namespace
}  // namespace tandem
