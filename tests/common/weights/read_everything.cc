#include "tests/common/weights/read_everything.h"

#include <bit>
#include <vector>

#include "common/base/check.h"
#include "common/weights/dequantize.h"

namespace tandem {

uint64_t ReadEverything(const ModelFile& model) {
  uint64_t sum = model.file_bytes() + model.fingerprint().size() + model.config().name.size();
  for (const std::string& token : model.tokenizer().tokens) {
    for (char c : token) sum += static_cast<unsigned char>(c);
  }
  for (const std::string& merge : model.tokenizer().merges) sum += merge.size();
  for (const TensorView& tensor : model.tensors()) {
    TANDEM_CHECK(model.FindTensor(tensor.name) == &tensor);
    for (std::byte byte : tensor.data) sum += static_cast<uint64_t>(byte);
    // A damaged shape can make a row of almost the whole file, but not more than it.
    std::vector<float> row(static_cast<size_t>(tensor.cols));
    for (int64_t index : {int64_t{0}, tensor.rows - 1}) {
      DequantizeRow(tensor, index, absl::MakeSpan(row));
      for (float value : row) sum += std::bit_cast<uint32_t>(value);
    }
  }
  return sum + model.lm_head().data.size();
}

}  // namespace tandem
