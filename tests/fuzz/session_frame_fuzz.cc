// Parses bytes as either kind of session frame. What is accepted must be valid, must encode to
// bytes that parse to the same again, and must not be more than twice as long as estimated. The
// first byte chooses: even for a frame of the router, odd for one of a worker.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "common/base/check.h"
#include "common/rpc/convert.h"

namespace {

template <class Messages, class Parse>
void CheckAccepted(const Messages& messages, Parse parse) {
  size_t estimated = 0;
  for (const auto& message : messages) {
    TANDEM_CHECK(tandem::Validate(message).ok());
    estimated += tandem::EstimatedBytes(message);
  }
  const std::string bytes = tandem::SerializeFrame(messages);
  TANDEM_CHECK(bytes.size() <= 2 * estimated);
  const auto again = parse(bytes);
  TANDEM_CHECK_MSG(again.ok(), again.status().message());
  TANDEM_CHECK(tandem::SerializeFrame(*again) == bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  if (data[0] % 2 == 0) {
    const auto messages = tandem::ParseRouterFrame(bytes);
    if (messages.ok()) CheckAccepted(*messages, tandem::ParseRouterFrame);
  } else {
    const auto messages = tandem::ParseWorkerFrame(bytes);
    if (messages.ok()) CheckAccepted(*messages, tandem::ParseWorkerFrame);
  }
  return 0;
}
