// The default model, for tests that need a real one: TANDEM_TEST_MODEL names its file.
#pragma once

#include <cstdlib>
#include <memory>

#include "common/weights/model_file.h"

namespace tandem {

// Null when TANDEM_TEST_MODEL is not set; aborts when it names a file that cannot be read.
inline std::unique_ptr<ModelFile> OpenRealModel() {
  const char* path = std::getenv("TANDEM_TEST_MODEL");
  return path == nullptr || *path == '\0' ? nullptr : ModelFile::Open(path).value();
}

inline constexpr char kNoRealModel[] =
    "set TANDEM_TEST_MODEL to the path of the default model (GGUF) to run this test";

}  // namespace tandem
