// Reads the shape of a Llama-architecture model from a file's metadata, and checks that its tensors
// have that shape. Internal to common/weights. Pure.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/weights/gguf_metadata.h"
#include "common/weights/gguf_parser.h"
#include "common/weights/model_config.h"

namespace tandem {

// Refuses every architecture but "llama".
absl::Status CheckArchitecture(const GgufMetadata& metadata);

// For metadata that passed CheckArchitecture(). `vocab_size` is the length of the token list;
// llama.vocab_size, when there, has to agree. `fallback_name` stands in for general.name. Refuses
// what would change the result and is not computed: rope scaling, experts.
absl::StatusOr<ModelConfig> ReadLlamaConfig(const GgufMetadata& metadata, int vocab_size,
                                            absl::string_view fallback_name);

// Fails when a tensor that the model needs is missing or has another shape, or when there is one
// that would change the result and is not computed (biases, rope frequency factors). Any other
// tensor is ignored.
absl::Status CheckLlamaTensors(const ModelConfig& config, absl::Span<const GgufTensor> tensors);

}  // namespace tandem
