// StreamDelivery takes what the core's turns say of streams to the I/O threads that their clients
// belong to: one piece of work for each thread and turn, however many streams a step of a worker
// moved. Belongs to whoever has the core's turn.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "router/core/router_events.h"
#include "router/core_turns.h"
#include "router/http/http_server.h"

namespace tandem {

// One choice of a request, on its I/O thread.
class StreamReceiver {
 public:
  virtual ~StreamReceiver() = default;
  virtual void OnTokens(size_t choice, const EmitTokens& tokens) = 0;
  virtual void OnEnd(size_t choice, const EndStream& end) = 0;
};

class StreamDelivery : public StreamSink {
 public:
  // What the core's shell keeps of a stream: who receives it, and the way there.
  struct Route : StreamRoute {
    Route(std::shared_ptr<StreamReceiver> to, size_t choice_index,
          std::shared_ptr<ResponseWriter> way)
        : receiver(std::move(to)), choice(choice_index), writer(std::move(way)) {}
    const std::shared_ptr<StreamReceiver> receiver;
    const size_t choice;
    const std::shared_ptr<ResponseWriter> writer;
  };

  void OnTokens(const std::shared_ptr<StreamRoute>& route, EmitTokens tokens) override;
  void OnEnd(const std::shared_ptr<StreamRoute>& route, EndStream end) override;
  void OnTurnDone(std::vector<ReadCredit> credits) override;

 private:
  struct Event {
    std::shared_ptr<const Route> route;
    EmitTokens tokens;
    std::unique_ptr<EndStream> end;  // set: it is this and no tokens
  };

  std::vector<Event>& EventsFor(const Route& route);

  std::vector<std::vector<Event>> by_thread_;
};

}  // namespace tandem
