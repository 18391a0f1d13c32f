// Reads a file's tokenizer keys (tokenizer.ggml.*, tokenizer.chat_template). Internal to
// common/weights. Pure.
#pragma once

#include "absl/status/statusor.h"
#include "common/weights/gguf_metadata.h"
#include "common/weights/tokenizer_data.h"

namespace tandem {

// Checks that tokens are distinct, that types go with tokens, that merges are pairs and that every
// special id is inside the vocabulary. Any tokenizer model is accepted here: common/text says which
// ones it can build.
absl::StatusOr<TokenizerData> ReadTokenizerData(const GgufMetadata& metadata);

}  // namespace tandem
