// How long messages will be, without encoding them. Counts the parts that can be long; tokens as 3
// bytes each.
#include <variant>

#include "common/rpc/convert.h"

namespace tandem {
namespace {

constexpr size_t kFixedBytes = 128;  // all numbers of the largest message without its lists
constexpr size_t kTokenBytes = 3;
constexpr size_t kLogprobBytes = 12;

size_t Variable(const Generate& m) {
  return (m.prompt.size() + m.outputs.size() + m.sampling.stop_token_ids.size()) * kTokenBytes +
         m.trace_id.size() + m.cache_salt.size();
}
size_t Variable(const PrefillJob& m) {
  return m.tokens.size() * kTokenBytes + m.trace_id.size() + m.cache_salt.size() +
         m.decode_address.size();
}
size_t Variable(const Refused& m) { return m.message.size(); }
size_t Variable(const TokenFrame& m) {
  size_t bytes = m.tokens.size() * kTokenBytes;
  for (const OutputLogprobs& logprobs : m.logprobs) {
    bytes += kLogprobBytes * (1 + logprobs.top.size());
  }
  return bytes + (m.finish ? m.finish->error.size() : 0);
}
size_t Variable(const FillLost& m) { return m.reason.size(); }
size_t Variable(const JobEnded& m) { return m.message.size(); }
size_t Variable(const WorkerHello& m) {
  return m.worker_name.size() + m.model_name.size() + m.transfer_address.size() +
         m.handshake.kv.model_fingerprint.size() + m.handshake.kv.numeric_profile.size();
}
size_t Variable(const RouterHello& m) { return m.router_name.size(); }
template <class Message>
size_t Variable(const Message&) {
  return 0;
}

}  // namespace

size_t EstimatedBytes(const RouterToWorker& message) {
  return kFixedBytes + std::visit([](const auto& m) { return Variable(m); }, message);
}

size_t EstimatedBytes(const WorkerToRouter& message) {
  return kFixedBytes + std::visit([](const auto& m) { return Variable(m); }, message);
}

}  // namespace tandem
