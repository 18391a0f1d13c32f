// Backend: the operations that a Llama-style decoder needs, over memory that the backend allocates.
// kernels/reference is the slow and plain answer, kernels/cpu the fast one. All activations are
// float32, row-major [rows, dim].
//
// One Backend belongs to one model runner and is used by one thread at a time. Work may be
// asynchronous, in call order: results are there for the host after Synchronize or CopyToHost.
// Float pointers are addresses inside FloatBuffers of this backend; spans of ids and positions are
// host memory, looked at during the call only.
//
// The numeric rule: each output element is reduced in an order fixed for that element. A row's
// result does not depend on the other rows of the call, on how a sequence is cut into chunks, or on
// the number of threads; attention reads keys and values as stored, also those of its own chunk.
// Results may differ between profiles, see profile().
//
// A forward pass: BeginStep; EmbedRows; per layer RmsNorm, MatMul q|k|v, AppendKv, Attention,
// MatMul o, Add, RmsNorm, MatMul gate|up, SiluMul, MatMul down, Add; then GatherRows, RmsNorm and
// MatMul on the rows whose logits are wanted.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/kv_layout.h"
#include "kernels/weight_view.h"

namespace tandem {

// Memory for floats, 64-byte aligned, zeroed at first. Freed with the object, which must not
// outlive its backend.
class FloatBuffer {
 public:
  virtual ~FloatBuffer() = default;
  virtual float* data() const = 0;
  virtual int64_t size() const = 0;  // floats
};

// A weight matrix in the layout that its backend likes best. Immutable; must not outlive its
// backend.
class PackedMatrix {
 public:
  virtual ~PackedMatrix() = default;
  virtual int64_t rows() const = 0;   // output features
  virtual int64_t cols() const = 0;   // input features
  virtual int64_t bytes() const = 0;  // memory it takes
};

// out[r, :] = weight * x[r, :]; out is [rows of the call, weight->rows()].
struct MatMulOutput {
  const PackedMatrix* weight = nullptr;
  float* out = nullptr;
};

struct AttentionConfig {
  int query_heads =
      0;  // a multiple of the cache's kv_heads; head h reads KV head h / (query_heads / kv_heads)
  int rope_dim = 0;  // leading elements of each head that are rotated; even, <= head_dim
  float rope_theta = 10000.0f;
  float scale = 0.0f;  // multiplies q.k; usually 1 / sqrt(head_dim)
};

// The rows of one step, from one or several sequences in any mix. Rows of one sequence that are
// side by side with rising positions are computed together, so that order is the fast one; results
// do not depend on it.
struct StepBatch {
  absl::Span<const int32_t> row_sequence;  // per row: its sequence, an index into the tables below
  absl::Span<const int32_t>
      row_position;  // per row: absolute position of its token in that sequence
  absl::Span<const uint32_t>
      blocks;  // the block tables of all sequences, end to end (physical block ids)
  absl::Span<const int32_t> table_begin;  // sequence s owns blocks[table_begin[s] .. table_begin[s
                                          // + 1]); one entry more than there are sequences
};

class Backend {
 public:
  virtual ~Backend() = default;

  // The numeric profile: two backends with the same profile give bit-equal results. Part of the
  // block fingerprint.
  virtual std::string profile() const = 0;

  // --- Set-up; allocates ---

  // Returns INVALID_ARGUMENT for a malformed view, UNIMPLEMENTED for a shape this backend cannot
  // multiply. The view's bytes are not used after the call.
  virtual absl::StatusOr<std::unique_ptr<PackedMatrix>> Pack(const WeightView& weights) = 0;
  // A weight vector (view.rows == 1) as floats: norm weights.
  virtual absl::StatusOr<std::unique_ptr<FloatBuffer>> LoadVector(const WeightView& weights) = 0;
  virtual std::unique_ptr<FloatBuffer> AllocateFloats(int64_t count) = 0;
  // Names the cache and attention shape of all later steps; the arena must outlive its use. Called
  // again, it replaces the earlier ones. Returns INVALID_ARGUMENT for shapes that contradict each
  // other, UNIMPLEMENTED for those this backend cannot do (the CPU ones want head_dim a multiple of
  // 8, at most 256).
  virtual absl::Status BindKvCache(const KvCacheView& cache, const AttentionConfig& config) = 0;

  // --- A step; no allocation once the largest batch has been seen ---

  // Copies the batch: AppendKv and Attention work on it until the next BeginStep.
  // REQUIRES: BindKvCache was called; every row's position lies inside its table, and no (sequence,
  // position) is twice.
  virtual void BeginStep(const StepBatch& batch) = 0;
  // out[r, :] = row ids[r] of the table, dequantized. REQUIRES: 0 <= ids[r] < table.rows().
  virtual void EmbedRows(const PackedMatrix& table, absl::Span<const int32_t> ids, float* out) = 0;
  // out[r, i] = x[r, i] / sqrt(mean_i(x[r, i]^2) + eps) * weight[i]. out may be x.
  virtual void RmsNorm(const float* x, const float* weight, int rows, int dim, float eps,
                       float* out) = 0;
  // Multiplies x [rows, cols] by several weights of the same cols, preparing x once. No out may
  // overlap x.
  virtual void MatMul(const float* x, int rows, absl::Span<const MatMulOutput> outputs) = 0;
  // residual[i] += delta[i] for i < count.
  virtual void Add(const float* delta, int64_t count, float* residual) = 0;
  // out[i] = silu(gate[i]) * up[i] for i < count. out may be gate or up.
  virtual void SiluMul(const float* gate, const float* up, int64_t count, float* out) = 0;
  // Rotates q [rows, query_heads * head_dim] in place and k [rows, kv_heads * head_dim] (pairs 2i,
  // 2i + 1, as GGUF's llama layout has them) and stores k and v of every row of the step in the
  // cache. k is not changed.
  virtual void AppendKv(int layer, float* q, const float* k, const float* v) = 0;
  // Causal attention of every row of the step over positions 0 .. its own; q as AppendKv left it;
  // out has q's shape. The keys and values of all those positions must be in the cache.
  virtual void Attention(int layer, const float* q, float* out) = 0;
  // out[j, :] = x[indices[j], :]. out does not overlap x.
  virtual void GatherRows(const float* x, int dim, absl::Span<const int32_t> indices,
                          float* out) = 0;

  // Copies out.size() floats to host memory after all work before this call. Waits.
  virtual void CopyToHost(const float* src, absl::Span<float> out) = 0;
  // Waits until all work before this call is done and the cache is readable by the host.
  virtual void Synchronize() = 0;
};

}  // namespace tandem
