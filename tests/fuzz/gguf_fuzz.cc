// Any bytes as a model file: an error or a model that can be read safely, never a crash.

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "common/weights/model_file.h"
#include "tests/common/weights/read_everything.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = absl::MakeConstSpan(reinterpret_cast<const std::byte*>(data), size);
  const auto model = tandem::ModelFile::Parse(bytes);
  if (model.ok()) tandem::ReadEverything(**model);
  return 0;
}
