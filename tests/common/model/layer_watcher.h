// LayerWatcher: follows the layers of a step of which everything is wanted.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "common/model/step_executor.h"

namespace tandem {

class LayerWatcher final : public StepWatcher {
 public:
  explicit LayerWatcher(std::function<void(uint32_t)> on_layer = [](uint32_t) {})
      : on_layer_(std::move(on_layer)) {}

  void OnLayer(uint32_t layer) override { on_layer_(layer); }
  std::vector<SequenceKey> Unwanted() override { return {}; }
  void OnDropped(SequenceKey) override {}

 private:
  const std::function<void(uint32_t)> on_layer_;
};

}  // namespace tandem
