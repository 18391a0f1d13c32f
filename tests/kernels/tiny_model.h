// TinyModel: a two-layer Llama-shaped decoder made of random weights, for tests that drive a
// backend the way the model runner does. Sequences keep their KV in an arena of their own; their
// physical blocks are scattered by a seed.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "kernels/host_memory.h"
#include "tests/kernels/backend_under_test.h"
#include "tests/kernels/random_weights.h"

namespace tandem {

struct TinyShape {
  int hidden = 96;
  int ffn = 160;
  int query_heads = 4;
  int kv_heads = 2;
  int head_dim = 72;  // not a multiple of 64 or 16: the vector kernels have remainders to do
  int rope_dim = 68;
  int layers = 2;
  int vocab = 50;
  WeightType weights = WeightType::kQ4_1;
  KvType kv = KvType::kF16;
};

class TinyModel {
 public:
  // One row of a step: a sequence and a position in it.
  struct Row {
    int sequence;
    int position;
  };

  TinyModel(Backend& backend, const TinyShape& shape, int sequences, int max_tokens, uint32_t seed)
      : backend_(backend),
        shape_(shape),
        blocks_each_((max_tokens + kKvBlockTokens - 1) / kKvBlockTokens),
        layout_(KvLayout::LayerMajor(shape.layers, sequences * blocks_each_, shape.kv_heads,
                                     shape.head_dim, shape.kv)),
        arena_(layout_.TotalBytes()) {
    // What an arena holds before it is written must not matter.
    std::fill_n(arena_.get(), arena_.size(), std::byte{0xff});
    table_.resize(layout_.blocks);
    for (size_t i = 0; i < table_.size(); ++i) table_[i] = i;
    std::shuffle(table_.begin(), table_.end(), std::mt19937(seed));
    for (int s = 0; s <= sequences; ++s) table_begin_.push_back(s * blocks_each_);

    const int q = shape.query_heads * shape.head_dim, kv = shape.kv_heads * shape.head_dim;
    embedding_ = Pack(shape.vocab, shape.hidden, 1);
    norm_ = backend.AllocateFloats(shape.hidden);
    const std::vector<float> norm = RandomFloats(shape.hidden, 2);
    std::copy(norm.begin(), norm.end(), norm_->data());
    for (int l = 0; l < shape.layers; ++l) {
      const uint32_t s = 10 * (l + 1);
      layers_.push_back({Pack(q, shape.hidden, s), Pack(kv, shape.hidden, s + 1),
                         Pack(kv, shape.hidden, s + 2), Pack(shape.hidden, q, s + 3),
                         Pack(shape.ffn, shape.hidden, s + 4), Pack(shape.ffn, shape.hidden, s + 5),
                         Pack(shape.hidden, shape.ffn, s + 6)});
    }
    const AttentionConfig config{.query_heads = shape.query_heads,
                                 .rope_dim = shape.rope_dim,
                                 .rope_theta = 10000.0f,
                                 .scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim))};
    status_ = backend.BindKvCache({arena_.get(), layout_}, config);
  }

  const absl::Status& status() const { return status_; }

  // The token at a position, the same for sequences with the same `text`.
  static int32_t Token(int text, int position, int vocab) {
    return (position * 7 + text * 3 + position / 5) % vocab;
  }

  // Runs one step and returns the last hidden state and logits of every row, end to end. Every
  // sequence reads the tokens of text number `text_of(sequence)`.
  template <class TextOf>
  std::vector<std::vector<float>> Step(const std::vector<Row>& rows, TextOf text_of) {
    const int n = static_cast<int>(rows.size());
    std::vector<int32_t> sequences, positions, ids;
    for (const Row& row : rows) {
      sequences.push_back(row.sequence);
      positions.push_back(row.position);
      ids.push_back(Token(text_of(row.sequence), row.position, shape_.vocab));
    }
    const int q_dim = shape_.query_heads * shape_.head_dim;
    const int kv_dim = shape_.kv_heads * shape_.head_dim;
    const auto floats = [&](int64_t dim) { return backend_.AllocateFloats(n * dim); };
    auto x = floats(shape_.hidden), normed = floats(shape_.hidden), delta = floats(shape_.hidden);
    auto q = floats(q_dim), k = floats(kv_dim), v = floats(kv_dim), attended = floats(q_dim);
    auto gate = floats(shape_.ffn), up = floats(shape_.ffn), logits = floats(shape_.vocab);

    backend_.BeginStep({sequences, positions, table_, table_begin_});
    backend_.EmbedRows(*embedding_, ids, x->data());
    for (int l = 0; l < shape_.layers; ++l) {
      const Layer& layer = layers_[l];
      Norm(n, x->data(), normed->data());
      backend_.MatMul(
          normed->data(), n,
          {{layer.q.get(), q->data()}, {layer.k.get(), k->data()}, {layer.v.get(), v->data()}});
      backend_.AppendKv(l, q->data(), k->data(), v->data());
      backend_.Attention(l, q->data(), attended->data());
      backend_.MatMul(attended->data(), n, {{layer.o.get(), delta->data()}});
      backend_.Add(delta->data(), int64_t{n} * shape_.hidden, x->data());
      Norm(n, x->data(), normed->data());
      backend_.MatMul(normed->data(), n,
                      {{layer.gate.get(), gate->data()}, {layer.up.get(), up->data()}});
      backend_.SiluMul(gate->data(), up->data(), int64_t{n} * shape_.ffn, gate->data());
      backend_.MatMul(gate->data(), n, {{layer.down.get(), delta->data()}});
      backend_.Add(delta->data(), int64_t{n} * shape_.hidden, x->data());
    }
    Norm(n, x->data(), normed->data());
    backend_.MatMul(normed->data(), n, {{embedding_.get(), logits->data()}});

    std::vector<std::vector<float>> results(n, std::vector<float>(shape_.hidden + shape_.vocab));
    for (int r = 0; r < n; ++r) {
      backend_.CopyToHost(x->data() + int64_t{r} * shape_.hidden,
                          absl::MakeSpan(results[r].data(), shape_.hidden));
      backend_.CopyToHost(logits->data() + int64_t{r} * shape_.vocab,
                          absl::MakeSpan(results[r].data() + shape_.hidden, shape_.vocab));
    }
    return results;
  }

  // All cached bytes of one token: every layer, K and V, every head.
  std::vector<std::byte> CachedToken(int sequence, int position) const {
    std::vector<std::byte> bytes;
    const int64_t size = int64_t{layout_.head_dim} * KvTypeBytes(layout_.type);
    const uint32_t block = table_[table_begin_[sequence] + position / kKvBlockTokens];
    for (int l = 0; l < layout_.layers; ++l) {
      for (int h = 0; h < layout_.kv_heads; ++h) {
        const std::byte* key = arena_.get() + layout_.KeyOffset(l, block, h, position % 16);
        const std::byte* value = arena_.get() + layout_.ValueOffset(l, block, h, position % 16);
        bytes.insert(bytes.end(), key, key + size);
        bytes.insert(bytes.end(), value, value + size);
      }
    }
    return bytes;
  }

 private:
  struct Layer {
    std::unique_ptr<PackedMatrix> q, k, v, o, gate, up, down;
  };

  std::unique_ptr<PackedMatrix> Pack(int rows, int cols, uint32_t seed) {
    return std::move(backend_.Pack(RandomWeights(shape_.weights, rows, cols, seed).view()).value());
  }
  void Norm(int rows, const float* x, float* out) {
    backend_.RmsNorm(x, norm_->data(), rows, shape_.hidden, 1e-5f, out);
  }

  Backend& backend_;
  TinyShape shape_;
  int blocks_each_;
  KvLayout layout_;
  AlignedBytes arena_;
  std::vector<uint32_t> table_;
  std::vector<int32_t> table_begin_;
  std::unique_ptr<PackedMatrix> embedding_;
  std::unique_ptr<FloatBuffer> norm_;
  std::vector<Layer> layers_;
  absl::Status status_;
};

}  // namespace tandem
