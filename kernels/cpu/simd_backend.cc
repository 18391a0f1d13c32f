// Compiled without vector instructions on purpose: the vector loops are in avx2_*.cc and
// avx512_*.cc, this file hands them out to threads. Every task boundary below is a choice of speed
// only; no result depends on it.
#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "kernels/cpu/avx2_kernels.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/matmul_kernels.h"
#include "kernels/cpu/packed_weights.h"
#include "kernels/cpu/tiled_attention.h"
#include "kernels/host_memory.h"
#include "kernels/step_state.h"

namespace tandem {
namespace {

// Below this many floats handing work to other threads costs more than it saves.
constexpr int64_t kParallelFloats = 16 * 1024;
// More tasks than threads, so that a thread that is held up does not hold up the rest.
constexpr int kTasksPerThread = 4;
// Rows of activations that one task multiplies: their int8 values stay in the L2 cache while
// weights stream by.
constexpr int kRowsPerTask = 64;
constexpr int64_t kMinGroupsPerTask = 4;

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

const PackedWeights& Weights(const MatMulOutput& output) {
  return static_cast<const PackedWeights&>(*output.weight);
}

class SimdBackend final : public Backend {
 public:
  SimdBackend(ParallelFor* parallel, CpuIsa isa)
      : parallel_(*parallel),
        matmul_(isa == CpuIsa::kAvx512Vnni ? avx512::kMatMul : avx2::kMatMul),
        attention_(parallel, isa == CpuIsa::kAvx512Vnni ? avx512::AttendSplit : avx2::AttendSplit) {
  }

  std::string profile() const override { return "cpu-int8"; }

  absl::StatusOr<std::unique_ptr<PackedMatrix>> Pack(const WeightView& weights) override {
    return PackedWeights::Make(weights, weight_memory_);
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
    if (absl::Status status = step_.Bind(cache, config); !status.ok()) return status;
    if (step_.group_size() > kMaxTileQueries) {
      return absl::UnimplementedError(
          absl::StrCat(step_.group_size(), " query heads to a KV head; at most ", kMaxTileQueries));
    }
    attention_.Bind(step_);
    return absl::OkStatus();
  }

  void BeginStep(const StepBatch& batch) override {
    step_.Begin(batch);
    attention_.Plan(step_);
  }

  void EmbedRows(const PackedMatrix& table, absl::Span<const int32_t> ids, float* out) override {
    const auto& weights = static_cast<const PackedWeights&>(table);
    ForRange(static_cast<int64_t>(ids.size()), weights.cols(), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        TANDEM_CHECK(ids[r] >= 0 && ids[r] < weights.rows());
        weights.ReadRow(ids[r], out + r * weights.cols());
      }
    });
  }

  void RmsNorm(const float* x, const float* weight, int rows, int dim, float eps,
               float* out) override {
    ForRange(rows, dim, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        avx2::RmsNormRow(x + r * dim, weight, dim, eps, out + r * dim);
      }
    });
  }

  void MatMul(const float* x, int rows, absl::Span<const MatMulOutput> outputs) override {
    if (rows == 0 || outputs.empty()) return;
    const int64_t cols = outputs[0].weight->cols();
    int64_t groups = 0;
    bool quantized = false;
    for (const MatMulOutput& output : outputs) {
      TANDEM_CHECK(output.weight->cols() == cols);
      groups += Weights(output).groups();
      quantized |= Weights(output).quantized();
    }
    if (quantized) Quantize(x, rows, cols);

    const int64_t row_tasks = CeilDivide(rows, kRowsPerTask);
    const int64_t groups_per_task = std::max(
        kMinGroupsPerTask,
        CeilDivide(groups * row_tasks, int64_t{kTasksPerThread} * parallel_.num_threads()));
    const int64_t group_tasks = CeilDivide(groups, groups_per_task);
    parallel_.Run(static_cast<int>(row_tasks * group_tasks), [&](int task, int) {
      const int64_t first = task % group_tasks * groups_per_task;
      const int row_begin = static_cast<int>(task / group_tasks) * kRowsPerTask;
      MultiplyGroups(outputs, first, std::min(first + groups_per_task, groups), x, row_begin,
                     std::min(row_begin + kRowsPerTask, rows));
    });
  }

  void Add(const float* delta, int64_t count, float* residual) override {
    ForRange(count, 1, [&](int64_t begin, int64_t end) {
      avx2::Add(delta + begin, end - begin, residual + begin);
    });
  }

  void SiluMul(const float* gate, const float* up, int64_t count, float* out) override {
    ForRange(count, 1, [&](int64_t begin, int64_t end) {
      avx2::SiluMul(gate + begin, up + begin, end - begin, out + begin);
    });
  }

  void AppendKv(int layer, float* q, const float* k, const float* v) override {
    ForRange(step_.rows(), step_.query_dim() + 2 * step_.kv_dim(), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        RotateQuery(row, q + row * step_.query_dim());
        AppendRow(layer, row, k + row * step_.kv_dim(), v + row * step_.kv_dim());
      }
    });
  }

  void Attention(int layer, const float* q, float* out) override {
    attention_.Run(step_, layer, q, out);
  }

  void GatherRows(const float* x, int dim, absl::Span<const int32_t> indices, float* out) override {
    for (int32_t index : indices) out = std::copy_n(x + int64_t{index} * dim, dim, out);
  }

  void CopyToHost(const float* src, absl::Span<float> out) override {
    std::copy_n(src, out.size(), out.data());
  }

  void Synchronize() override {}

 private:
  // Cuts [0, count) into ranges for the threads, each item worth `floats_each` floats of work;
  // small work runs here.
  template <class Body>
  void ForRange(int64_t count, int64_t floats_each, Body body) {
    if (count * floats_each < kParallelFloats) {
      body(0, count);
      return;
    }
    const int64_t tasks = std::min(count, int64_t{kTasksPerThread} * parallel_.num_threads());
    parallel_.Run(static_cast<int>(tasks),
                  [&](int task, int) { body(count * task / tasks, count * (task + 1) / tasks); });
  }

  void Quantize(const float* x, int rows, int64_t cols) {
    const int blocks = static_cast<int>(cols / 32);
    const int64_t all_blocks = int64_t{rows} * blocks;
    if (static_cast<int64_t>(sums_.size()) < all_blocks) {
      quants_.resize(2 * all_blocks * 32);
      scales_.resize(2 * all_blocks);
      sums_.resize(all_blocks);
      refined_blocks_.resize(all_blocks);
    }
    if (static_cast<int>(refined_.size()) < rows) refined_.resize(rows);
    quantized_ = {.blocks = blocks,
                  .q = quants_.data(),
                  .q_sum = sums_.data(),
                  .scale = scales_.data(),
                  .sum = scales_.data() + all_blocks,
                  .refined = refined_.data(),
                  .refined_block = refined_blocks_.data(),
                  .rest = quants_.data() + all_blocks * 32};
    ForRange(rows, cols, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        avx2::QuantizeRow(x + r * cols, static_cast<int>(r), quantized_);
      }
    });
  }

  // Groups [first, last), counted through all outputs, times rows [row_begin, row_end).
  void MultiplyGroups(absl::Span<const MatMulOutput> outputs, int64_t first, int64_t last,
                      const float* x, int row_begin, int row_end) const {
    for (const MatMulOutput& output : outputs) {
      const PackedWeights& weights = Weights(output);
      for (int64_t g = first; g < std::min(last, weights.groups()); ++g) {
        const int64_t feature = g * PackedWeights::kGroup;
        MultiplyGroup(weights, g, x, row_begin, row_end,
                      {.out = output.out + feature,
                       .out_stride = weights.rows(),
                       .features = static_cast<int>(
                           std::min<int64_t>(PackedWeights::kGroup, weights.rows() - feature))});
      }
      first = std::max<int64_t>(first - weights.groups(), 0);
      last -= weights.groups();
      if (last <= 0) return;
    }
  }

  void MultiplyGroup(const PackedWeights& weights, int64_t g, const float* x, int row_begin,
                     int row_end, const GroupOutput& output) const {
    const std::byte* group = weights.group(g);
    const int cols = static_cast<int>(weights.cols());
    switch (weights.kind()) {
      case PackedWeights::Kind::kNibbles:
        return matmul_.nibbles(group, quantized_, row_begin, row_end, output);
      case PackedWeights::Kind::kBytes:
        return matmul_.bytes(group, quantized_, row_begin, row_end, output);
      case PackedWeights::Kind::kF32:
        return matmul_.f32(group, x, cols, row_begin, row_end, output);
      case PackedWeights::Kind::kF16:
        return matmul_.f16(group, x, cols, row_begin, row_end, output);
      case PackedWeights::Kind::kBF16:
        return matmul_.bf16(group, x, cols, row_begin, row_end, output);
    }
  }

  void RotateQuery(int row, float* q) const {
    const int head_dim = step_.cache().layout.head_dim;
    for (int h = 0; h < step_.config().query_heads; ++h, q += head_dim) {
      avx2::RotateHead(q, step_.rotation(row), step_.config().rope_dim, head_dim, q);
    }
  }

  void AppendRow(int layer, int row, const float* k, const float* v) const {
    const KvLayout& layout = step_.cache().layout;
    const int head_dim = layout.head_dim;
    float rotated[256];  // head_dim is at most 256, see BindKvCache
    for (int h = 0; h < layout.kv_heads; ++h, k += head_dim, v += head_dim) {
      avx2::RotateHead(k, step_.rotation(row), step_.config().rope_dim, head_dim, rotated);
      std::byte* key = step_.KeySlot(layer, row, h);
      std::byte* value = step_.ValueSlot(layer, row, h);
      if (layout.type == KvType::kF16) {
        avx2::FloatsToHalves(rotated, head_dim, key);
        avx2::FloatsToHalves(v, head_dim, value);
      } else {
        std::memcpy(key, rotated, head_dim * sizeof(float));
        std::memcpy(value, v, head_dim * sizeof(float));
      }
    }
  }

  ParallelFor& parallel_;
  const MatMulKernels& matmul_;
  WeightMemory weight_memory_;
  StepState step_;
  TiledAttention attention_;
  // The prepared input of the current MatMul; grows to the largest seen.
  std::vector<int8_t> quants_;  // first terms, then second ones
  std::vector<float> scales_;   // scales, then sums
  std::vector<int32_t> sums_;
  std::vector<int> refined_;
  std::vector<int> refined_blocks_;
  QuantizedRows quantized_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeSimdBackend(ParallelFor* parallel, CpuIsa isa) {
  if (!CpuHas(isa)) {
    return absl::FailedPreconditionError(
        absl::StrCat("this processor lacks ", CpuIsaName(isa), " or what goes with it"));
  }
  return std::make_unique<SimdBackend>(parallel, isa);
}

}  // namespace tandem
