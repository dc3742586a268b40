// Attention-bias objects under the names that xFormers users know. Each says which keys a query
// sees; each lowers to fields of a Problem, none needs Sq x Sk memory.
//
// i is a query, j a key, both counted from the first of their block (or row); Mq, Mk their numbers.
// "top left": query i has its diagonal at key i; "bottom right": at key i + Mk - Mq. A window of W
// keys counts the query's own.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "regard/export.h"
#include "regard/problem.h"

namespace regard::xformers {

// What a mask is asked about: batch row, query head, query and key, counted over the whole tensors.
struct ScorePlace {
  int64_t batch = 0, head = 0, query = 0, key = 0;
};

class REGARD_API AttentionBias {
 public:
  virtual ~AttentionBias() = default;

  // Writes the mask into a Problem whose q, k and v are set. The Problem points into this object,
  // which must outlive it. Throws Error(invalid_argument) where the lengths do not fit.
  virtual void lower(Problem& problem) const = 0;

  // The dense bias at one place of [B, H, Sq, Sk]: 0, -inf, or what a tensor holds there.
  virtual float value(const Problem& shape, const ScorePlace& at) const = 0;
};

// The dense bias [B, Hq, Sq, Sk] of a mask, for tests and for looking at: Sq x Sk memory. Only the
// extents of `shape.q` and `shape.k` are read.
REGARD_API std::vector<float> materialise(const AttentionBias& bias, const Problem& shape);

// Which keys of a block a query sees: the diagonal and a band around it.
struct Band {
  Causal causal = Causal::none;
  Window window{};
  bool sees(int64_t num_queries, int64_t num_keys, int64_t query, int64_t key) const;
};

// One band over the whole row, the same for all batch rows and heads.
class REGARD_API BandMask : public AttentionBias {
 public:
  void lower(Problem& problem) const override;
  float value(const Problem& shape, const ScorePlace& at) const override;

 protected:
  explicit BandMask(Band band) : band_(band) {}

 private:
  Band band_;
};

class LowerTriangularMaskWithTensorBias;
class LowerTriangularFromBottomRightLocalAttentionMask;

// j <= i
class REGARD_API LowerTriangularMask : public BandMask {
 public:
  LowerTriangularMask() : BandMask({.causal = Causal::upper_left}) {}
  LowerTriangularMaskWithTensorBias add_bias(const BiasTensor& bias) const;
};

// j <= i + Mk - Mq
class REGARD_API LowerTriangularFromBottomRightMask : public BandMask {
 public:
  LowerTriangularFromBottomRightMask() : BandMask({.causal = Causal::lower_right}) {}
  LowerTriangularFromBottomRightLocalAttentionMask make_local_attention(int64_t window_size) const;
};

// i + Mk - Mq - W < j <= i + Mk - Mq; W is 1 or more.
class REGARD_API LowerTriangularFromBottomRightLocalAttentionMask : public BandMask {
 public:
  explicit LowerTriangularFromBottomRightLocalAttentionMask(int64_t window_size);
};

// i - left <= j - (Mk - Mq) <= i + right; both 0 or more.
class REGARD_API LocalAttentionFromBottomRightMask : public BandMask {
 public:
  LocalAttentionFromBottomRightMask(int64_t window_left, int64_t window_right);
};

// A dense bias [B, H, Mq, Mk] that is added to the scores; strides of 0 broadcast. The caller keeps
// the memory. Its gradient is written where Gradients::d_bias asks for it.
class REGARD_API TensorBias : public AttentionBias {
 public:
  explicit TensorBias(const BiasTensor& bias) : bias_(bias) {}
  void lower(Problem& problem) const override;
  float value(const Problem& shape, const ScorePlace& at) const override;

 private:
  BiasTensor bias_;
};

// j <= i, and the tensor's value is added.
class REGARD_API LowerTriangularMaskWithTensorBias : public TensorBias {
 public:
  explicit LowerTriangularMaskWithTensorBias(const BiasTensor& bias) : TensorBias(bias) {}
  void lower(Problem& problem) const override;
  float value(const Problem& shape, const ScorePlace& at) const override;
};

}  // namespace regard::xformers
