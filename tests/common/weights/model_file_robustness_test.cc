// Whatever happens to a file's bytes, the reader answers with an error or with a model that can be
// read safely. Meant to run under sanitizers, which see a read outside the file.

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "common/weights/model_file.h"
#include "gtest/gtest.h"
#include "tests/common/weights/read_everything.h"
#include "tests/common/weights/tiny_model.h"

namespace tandem {
namespace {

std::vector<std::byte> SmallFile(DType dtype) {
  TinyModelOptions options;
  options.layers = 1;
  options.hidden = 32;
  options.ffn = 32;
  options.heads = 1;
  options.kv_heads = 1;
  options.vocab = 270;
  options.dtype = dtype;
  return TinyModelBytes(options);
}

// Where the tensor data starts.
size_t HeaderBytes(const std::vector<std::byte>& file) {
  const auto model = ModelFile::Parse(file);
  EXPECT_TRUE(model.ok()) << model.status();
  size_t data_bytes = 0;
  for (const TensorView& tensor : (*model)->tensors()) {
    data_bytes += (tensor.data.size() + 31) / 32 * 32;
  }
  return file.size() - data_bytes;
}

// Returns whether the bytes made a model.
bool ParseAndRead(absl::Span<const std::byte> bytes) {
  const auto model = ModelFile::Parse(bytes);
  if (model.ok()) {
    ReadEverything(**model);
  } else {
    EXPECT_FALSE(model.status().message().empty());
  }
  return model.ok();
}

TEST(ModelFileRobustnessTest, EveryTruncationIsAnError) {
  const std::vector<std::byte> file = SmallFile(DType::kQ4_1);
  ASSERT_TRUE(ParseAndRead(file));
  const size_t header = HeaderBytes(file);
  ASSERT_LT(header, file.size());
  for (size_t size = 0; size < file.size(); size += size < header ? 1 : 13) {
    ASSERT_FALSE(ParseAndRead(absl::MakeConstSpan(file).first(size))) << size;
  }
  EXPECT_FALSE(ParseAndRead(absl::MakeConstSpan(file).first(file.size() - 1)));
}

TEST(ModelFileRobustnessTest, FlippedHeaderBitsNeverReachOutsideTheFile) {
  const std::vector<std::byte> file = SmallFile(DType::kQ8_0);
  const size_t header = HeaderBytes(file);
  std::mt19937 random(20240501);
  int models = 0;
  for (int round = 0; round < 4000; ++round) {
    std::vector<std::byte> damaged = file;
    for (unsigned flips = 1 + random() % 3; flips > 0; --flips) {
      damaged[random() % header] ^= std::byte{1} << (random() % 8);
    }
    models += ParseAndRead(damaged) ? 1 : 0;
  }
  // Most of the header is token text, where some flips are harmless; neither outcome may be the
  // only one.
  EXPECT_GT(models, 0);
  EXPECT_LT(models, 4000);
}

TEST(ModelFileRobustnessTest, OverwrittenWordsNeverReachOutsideTheFile) {
  const std::vector<std::byte> file = SmallFile(DType::kF16);
  const size_t header = HeaderBytes(file);
  const uint64_t values[] = {0,
                             1,
                             0x7f,
                             0x80,
                             0xffff,
                             0x7fffffff,
                             0x80000000,
                             0xffffffff,
                             file.size(),
                             uint64_t{1} << 24,
                             uint64_t{1} << 48,
                             uint64_t{1} << 63,
                             ~uint64_t{0},
                             ~uint64_t{31}};
  std::mt19937 random(7);
  // The directory and the scalar keys are at the ends of the header, tokens fill its middle: cover
  // the ends fully.
  std::vector<size_t> offsets;
  for (size_t i = 0; i < 700; ++i) offsets.push_back(i);
  for (size_t i = header - 900; i + 8 <= header; ++i) offsets.push_back(i);
  for (int i = 0; i < 500; ++i) offsets.push_back(random() % (header - 8));
  for (size_t offset : offsets) {
    for (int i = 0; i < 2; ++i) {
      std::vector<std::byte> damaged = file;
      const uint64_t value = values[random() % std::size(values)];
      std::memcpy(damaged.data() + offset, &value, random() % 2 == 0 ? 8 : 4);
      ParseAndRead(damaged);
    }
  }
}

TEST(ModelFileRobustnessTest, RemovedAndRepeatedStretchesNeverReachOutsideTheFile) {
  const std::vector<std::byte> file = SmallFile(DType::kQ4_0);
  const size_t header = HeaderBytes(file);
  std::mt19937 random(11);
  for (int round = 0; round < 1000; ++round) {
    std::vector<std::byte> damaged = file;
    const auto from = damaged.begin() + static_cast<ptrdiff_t>(random() % (header - 64));
    const auto to = from + 1 + static_cast<ptrdiff_t>(random() % 63);
    if (round % 2 == 0) {
      damaged.erase(from, to);
    } else {
      const std::vector<std::byte> stretch(from, to);
      damaged.insert(from, stretch.begin(), stretch.end());
    }
    ParseAndRead(damaged);
  }
}

TEST(ModelFileRobustnessTest, NoiseIsAnError) {
  std::mt19937 random(13);
  for (int round = 0; round < 1000; ++round) {
    std::vector<std::byte> noise(random() % 300);
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random());
    const std::vector<std::byte> good = SmallFile(DType::kF32);
    std::copy_n(good.begin(), std::min<size_t>(noise.size(), 8), noise.begin());
    EXPECT_FALSE(ParseAndRead(noise));
  }
}

}  // namespace
}  // namespace tandem
