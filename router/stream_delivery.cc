#include "router/stream_delivery.h"

namespace tandem {

void StreamDelivery::OnTokens(const std::shared_ptr<StreamRoute>& route, EmitTokens tokens) {
  auto to = std::static_pointer_cast<const Route>(route);
  std::vector<Event>& events = EventsFor(*to);
  events.push_back({std::move(to), std::move(tokens), nullptr});
}

void StreamDelivery::OnEnd(const std::shared_ptr<StreamRoute>& route, EndStream end) {
  auto to = std::static_pointer_cast<const Route>(route);
  std::vector<Event>& events = EventsFor(*to);
  events.push_back({std::move(to), {}, std::make_unique<EndStream>(std::move(end))});
}

void StreamDelivery::OnTurnDone(std::vector<ReadCredit> credits) {
  std::shared_ptr<const std::vector<ReadCredit>> shared;  // by all threads that have something
  for (std::vector<Event>& events : by_thread_) {
    if (events.empty()) continue;
    if (!credits.empty()) {
      shared = std::make_shared<const std::vector<ReadCredit>>(std::exchange(credits, {}));
    }
    // Any of their writers leads to the thread.
    const std::shared_ptr<ResponseWriter> writer = events.front().route->writer;
    writer->Post([events = std::exchange(events, {}), shared] {
      for (const Event& event : events) {
        StreamReceiver& receiver = *event.route->receiver;
        if (event.end != nullptr) {
          receiver.OnEnd(event.route->choice, *event.end);
        } else {
          receiver.OnTokens(event.route->choice, event.tokens);
        }
      }
    });
  }
}

std::vector<StreamDelivery::Event>& StreamDelivery::EventsFor(const Route& route) {
  const size_t thread = route.writer->io_thread();
  if (thread >= by_thread_.size()) by_thread_.resize(thread + 1);
  return by_thread_[thread];
}

}  // namespace tandem
