// One worker without its threads: production core, transfer engine and model, stepped by hand in
// virtual time.
#pragma once

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "common/engine/worker_core.h"
#include "common/kv/kv_cache.h"
#include "common/model/open_model.h"
#include "common/model/transformer_executor.h"
#include "common/transfer/loopback/loopback_transport.h"
#include "common/transfer/transfer_engine.h"
#include "tests/common/model/layer_watcher.h"

namespace tandem {

class WorkerNode {
 public:
  WorkerNode(std::unique_ptr<LoadedModel> model, std::unique_ptr<KvTransport> transport,
             Incarnation life)
      : cache(model->arena->shape().num_blocks),
        model_(std::move(model)),
        transport_(std::move(transport)) {
    KvArena* arena = model_->arena.get();
    TransferEngineOptions options;
    options.handshake = {.incarnation = life, .kv = model_->kv_terms};
    engine_ = std::make_unique<TransferEngine>(
        transport_.get(),
        KvMemory{arena->shape().num_layers, arena->shape().num_blocks,
                 arena->bytes_per_block_layer(),
                 [arena](uint32_t layer, BlockId first, uint32_t count) {
                   return arena->Run(layer, first, count);
                 },
                 arena->shared()},
        options);
    executor_ =
        std::make_unique<TransformerExecutor>(model_->transformer.get(), model_->team.get());
  }

  const LoadedModel& model() const { return *model_; }
  std::string address() const { return transport_->LocalAddress(); }
  void Run(std::unique_ptr<WorkerCore> core) { core_ = std::move(core); }
  void Deliver(WorkerEvent event) { inbox_.push_back(std::move(event)); }

  // Handles what is in the inbox, computes one step, moves what can be moved. True: something
  // happened. What the core sends to routers is added to `sent`.
  bool Turn(Instant now, std::vector<WorkerToRouter>* sent) {
    bool moved = !inbox_.empty();
    WorkerEffects effects;
    for (; !inbox_.empty(); inbox_.pop_front()) {
      core_->Handle(std::move(inbox_.front()), now, &effects);
    }
    core_->Advance(now, Duration{}, &effects);
    for (TransferCommand& command : effects.transfers) engine_->Handle(std::move(command), now);
    for (auto& [session, message] : effects.sends) sent->push_back(std::move(message));
    for (StepPlan& plan : effects.steps) steps_.push_back(std::move(plan));
    if (!steps_.empty()) {
      const StepPlan plan = std::move(steps_.front());
      steps_.pop_front();
      plans.push_back(plan);
      LayerWatcher watcher([&](uint32_t layer) {
        if (plan.report_layers) Deliver(RunnerEvent(LayerDone{plan.id, layer}));
      });
      StepDone done = executor_->Execute(plan, &watcher);
      Deliver(RunnerEvent(std::move(done)));
      moved = true;
    }
    moved |= engine_->Poll(now);
    for (TransferEvent& event : engine_->TakeEvents()) Deliver(std::move(event));
    return moved || !inbox_.empty();
  }

  KvCache cache;
  std::vector<StepPlan> plans;  // of all steps run

 private:
  std::unique_ptr<LoadedModel> model_;
  std::unique_ptr<KvTransport> transport_;
  std::unique_ptr<TransferEngine> engine_;
  std::unique_ptr<TransformerExecutor> executor_;
  std::unique_ptr<WorkerCore> core_;
  std::deque<WorkerEvent> inbox_;
  std::deque<StepPlan> steps_;
};

}  // namespace tandem
