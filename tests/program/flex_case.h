// One problem computed twice: by programs, and by a dense mask and bias written in plain C++.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "regard/flex_attention.h"

namespace regard::test {

// Dense truth: which pairs are seen and what is added to their scores; positions count over the
// whole row.
struct DenseMeaning {
  std::function<bool(int64_t b, int64_t h, int64_t q, int64_t kv)> sees;
  std::function<double(int64_t b, int64_t h, int64_t q, int64_t kv)> bias;
  float softcap = 0.0f;
  bool packed = false;  // documents keep to themselves
};

struct FlexShape {
  int64_t batch = 2, q_heads = 4, kv_heads = 2, q_len = 70, k_len = 70, head_dim = 16,
          value_dim = 24;
  std::vector<int32_t> offsets;  // of documents; empty = not packed

  Documents documents() const {
    return offsets.empty() ? Documents{}
                           : Documents{offsets.data(), offsets.data(),
                                       static_cast<int32_t>(offsets.size()) - 1};
  }
};

struct FlexResults {
  std::vector<float> o, lse, dq, dk, dv, d_bias;
  std::vector<std::vector<float>> d_tensors;
};

// Random operands of a shape, and what becomes of them.
class FlexOperands {
 public:
  FlexOperands(const FlexShape& shape, uint32_t seed);

  // By the reference, from a dense mask and bias; with the gradient of the bias.
  FlexResults dense(const DenseMeaning& meaning) const;
  // By programs. `options.documents` is set from the shape. Gradients of all f32 tensors.
  FlexResults flex(FlexAttentionOptions options, Backend backend) const;
  // sum of O * dO + LSE * dLSE, for finite differences.
  double loss(FlexAttentionOptions options, Backend backend) const;

  View q() const { return view(q_, shape_.q_len, shape_.q_heads, shape_.head_dim); }
  View k() const { return view(k_, shape_.k_len, shape_.kv_heads, shape_.head_dim); }
  View v() const { return view(v_, shape_.k_len, shape_.kv_heads, shape_.value_dim); }
  const FlexShape& shape() const { return shape_; }

 private:
  View view(const std::vector<float>& data, int64_t seq, int64_t heads, int64_t dim) const;
  LseView lse_view(const std::vector<float>& data) const;
  FlexResults empty_results() const;
  ForwardOutputs outputs(FlexResults& results) const;
  BackwardTensors gradients(FlexResults& results) const;

  FlexShape shape_;
  std::vector<float> q_, k_, v_, d_o_, d_lse_;
};

// Largest difference relative to the largest value expected, NaN where either has one.
double difference(const std::vector<float>& values, const std::vector<float>& expected);

}  // namespace regard::test
