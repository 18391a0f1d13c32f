#include "kernels/reference/reference_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "common/base/check.h"
#include "kernels/host_memory.h"
#include "kernels/step_state.h"

namespace tandem {
namespace {

class FloatMatrix final : public PackedMatrix {
 public:
  explicit FloatMatrix(const WeightView& view)
      : rows_(view.rows), cols_(view.cols), values_(view.rows * view.cols) {
    for (int64_t r = 0; r < rows_; ++r) DequantizeRow(view, r, values_.data() + r * cols_);
  }
  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  int64_t bytes() const override { return static_cast<int64_t>(values_.size() * sizeof(float)); }
  const float* row(int64_t r) const { return values_.data() + r * cols_; }

 private:
  int64_t rows_;
  int64_t cols_;
  std::vector<float> values_;
};

// Eight partial sums, so that a compiler can use vectors without changing the order.
float Dot(const float* a, const float* b, int64_t n) {
  float sum[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int j = 0; j < 8; ++j) sum[j] += a[i + j] * b[i + j];
  }
  for (int j = 0; i + j < n; ++j) sum[j] += a[i + j] * b[i + j];
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

// Every half as a float: looking up is what makes attention over halves bearable without vector
// conversions.
const std::vector<float>& HalfValues() {
  static const auto* const values = [] {
    auto* table = new std::vector<float>(1 << 16);
    for (size_t half = 0; half < table->size(); ++half) (*table)[half] = HalfToFloat(half);
    return table;
  }();
  return *values;
}

// Reads one token's key or value.
void LoadKv(const std::byte* stored, int head_dim, KvType type, float* out) {
  if (type == KvType::kF32) {
    std::memcpy(out, stored, head_dim * sizeof(float));
    return;
  }
  const float* values = HalfValues().data();
  for (int i = 0; i < head_dim; ++i) {
    uint16_t half;
    std::memcpy(&half, stored + i * 2, 2);
    out[i] = values[half];
  }
}

void StoreKv(std::byte* base, int64_t index, KvType type, float value) {
  if (type == KvType::kF32) {
    std::memcpy(base + index * 4, &value, 4);
    return;
  }
  const uint16_t half = FloatToHalf(value);
  std::memcpy(base + index * 2, &half, 2);
}

class ReferenceBackend final : public Backend {
 public:
  explicit ReferenceBackend(ParallelFor* parallel)
      : parallel_(*parallel), scores_(parallel->num_threads()) {}

  std::string profile() const override { return "reference"; }

  absl::StatusOr<std::unique_ptr<PackedMatrix>> Pack(const WeightView& weights) override {
    if (absl::Status status = CheckWeightView(weights); !status.ok()) return status;
    return std::make_unique<FloatMatrix>(weights);
  }

  absl::StatusOr<std::unique_ptr<FloatBuffer>> LoadVector(const WeightView& weights) override {
    if (absl::Status status = CheckWeightView(weights); !status.ok()) return status;
    if (weights.rows != 1) return absl::InvalidArgumentError("a weight vector must have one row");
    auto floats = std::make_unique<HostFloats>(weights.cols);
    DequantizeRow(weights, 0, floats->data());
    return floats;
  }

  std::unique_ptr<FloatBuffer> AllocateFloats(int64_t count) override {
    return std::make_unique<HostFloats>(count);
  }

  absl::Status BindKvCache(const KvCacheView& cache, const AttentionConfig& config) override {
    return step_.Bind(cache, config);
  }

  void BeginStep(const StepBatch& batch) override { step_.Begin(batch); }

  void EmbedRows(const PackedMatrix& table, absl::Span<const int32_t> ids, float* out) override {
    const auto& matrix = static_cast<const FloatMatrix&>(table);
    for (int32_t id : ids) {
      TANDEM_CHECK(id >= 0 && id < matrix.rows());
      out = std::copy_n(matrix.row(id), matrix.cols(), out);
    }
  }

  void RmsNorm(const float* x, const float* weight, int rows, int dim, float eps,
               float* out) override {
    for (int64_t r = 0; r < rows; ++r) {
      const float* in = x + r * dim;
      const float scale = 1.0f / std::sqrt(Dot(in, in, dim) / static_cast<float>(dim) + eps);
      for (int i = 0; i < dim; ++i) out[r * dim + i] = in[i] * scale * weight[i];
    }
  }

  void MatMul(const float* x, int rows, absl::Span<const MatMulOutput> outputs) override {
    for (const MatMulOutput& output : outputs) {
      const auto& matrix = static_cast<const FloatMatrix&>(*output.weight);
      const int64_t features = matrix.rows();
      constexpr int64_t kFeaturesPerTask = 16;
      const int tasks = static_cast<int>((features + kFeaturesPerTask - 1) / kFeaturesPerTask);
      parallel_.Run(tasks, [&](int task, int) {
        const int64_t begin = task * kFeaturesPerTask;
        const int64_t end = std::min(begin + kFeaturesPerTask, features);
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t f = begin; f < end; ++f) {
            output.out[r * features + f] = Dot(matrix.row(f), x + r * matrix.cols(), matrix.cols());
          }
        }
      });
    }
  }

  void Add(const float* delta, int64_t count, float* residual) override {
    for (int64_t i = 0; i < count; ++i) residual[i] += delta[i];
  }

  void SiluMul(const float* gate, const float* up, int64_t count, float* out) override {
    for (int64_t i = 0; i < count; ++i) out[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
  }

  void AppendKv(int layer, float* q, const float* k, const float* v) override {
    const KvLayout& layout = step_.cache().layout;
    const int head_dim = layout.head_dim;
    std::vector<float> rotated(head_dim);
    for (int row = 0; row < step_.rows(); ++row) {
      for (int h = 0; h < step_.config().query_heads; ++h) {
        float* head = q + int64_t{row} * step_.query_dim() + h * head_dim;
        Rotate(row, head, head);
      }
      for (int h = 0; h < layout.kv_heads; ++h) {
        const int64_t offset = int64_t{row} * step_.kv_dim() + h * head_dim;
        Rotate(row, k + offset, rotated.data());
        for (int i = 0; i < head_dim; ++i) {
          StoreKv(step_.KeySlot(layer, row, h), i, layout.type, rotated[i]);
          StoreKv(step_.ValueSlot(layer, row, h), i, layout.type, v[offset + i]);
        }
      }
    }
  }

  void Attention(int layer, const float* q, float* out) override {
    parallel_.Run(step_.rows(), [&](int row, int thread) {
      for (int h = 0; h < step_.config().query_heads; ++h) {
        const int64_t offset = int64_t{row} * step_.query_dim() + h * step_.cache().layout.head_dim;
        AttendHead(layer, row, h / step_.group_size(), q + offset, scores_[thread], out + offset);
      }
    });
  }

  void GatherRows(const float* x, int dim, absl::Span<const int32_t> indices, float* out) override {
    for (int32_t index : indices) out = std::copy_n(x + int64_t{index} * dim, dim, out);
  }

  void CopyToHost(const float* src, absl::Span<float> out) override {
    std::copy_n(src, out.size(), out.data());
  }

  void Synchronize() override {}

 private:
  // `out` may be `in`.
  void Rotate(int row, const float* in, float* out) const {
    const float* rotation = step_.rotation(row);
    int i = 0;
    for (; i < step_.config().rope_dim; i += 2) {
      const float a = in[i], b = in[i + 1];
      const float cosine = rotation[i], sine = rotation[i + 1];
      out[i] = a * cosine - b * sine;
      out[i + 1] = a * sine + b * cosine;
    }
    for (; i < step_.cache().layout.head_dim; ++i) out[i] = in[i];
  }

  void AttendHead(int layer, int row, int kv_head, const float* q, std::vector<float>& scores,
                  float* out) const {
    const int head_dim = step_.cache().layout.head_dim;
    const KvType type = step_.cache().layout.type;
    const int64_t token_bytes = int64_t{head_dim} * KvTypeBytes(type);
    const uint32_t* table = step_.table(row);
    const int tokens = step_.position(row) + 1;
    std::vector<float> widened(head_dim);
    scores.resize(tokens);
    float max = -INFINITY;
    for (int t = 0; t < tokens; ++t) {
      const std::byte* keys = step_.Keys(layer, table[t / kKvBlockTokens], kv_head);
      LoadKv(keys + t % kKvBlockTokens * token_bytes, head_dim, type, widened.data());
      scores[t] = Dot(q, widened.data(), head_dim) * step_.config().scale;
      max = std::max(max, scores[t]);
    }
    float sum = 0;
    std::fill_n(out, head_dim, 0.0f);
    for (int t = 0; t < tokens; ++t) {
      const std::byte* values = step_.Values(layer, table[t / kKvBlockTokens], kv_head);
      LoadKv(values + t % kKvBlockTokens * token_bytes, head_dim, type, widened.data());
      const float weight = std::exp(scores[t] - max);
      sum += weight;
      for (int i = 0; i < head_dim; ++i) out[i] += weight * widened[i];
    }
    for (int i = 0; i < head_dim; ++i) out[i] /= sum;
  }

  ParallelFor& parallel_;
  StepState step_;
  std::vector<std::vector<float>> scores_;  // per thread
};

}  // namespace

std::unique_ptr<Backend> MakeReferenceBackend(ParallelFor* parallel) {
  return std::make_unique<ReferenceBackend>(parallel);
}

}  // namespace tandem
