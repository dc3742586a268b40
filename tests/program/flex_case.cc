#include "tests/program/flex_case.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace regard::test {
namespace {

std::vector<float> normal_floats(int64_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

std::vector<float> poisoned(size_t count) {
  return std::vector<float>(count, std::numeric_limits<float>::quiet_NaN());
}

}  // namespace

FlexOperands::FlexOperands(const FlexShape& shape, uint32_t seed) : shape_(shape) {
  std::mt19937 random(seed);
  const int64_t rows = shape.batch * shape.q_len * shape.q_heads;
  const int64_t keys = shape.batch * shape.k_len * shape.kv_heads;
  q_ = normal_floats(rows * shape.head_dim, random);
  k_ = normal_floats(keys * shape.head_dim, random);
  v_ = normal_floats(keys * shape.value_dim, random);
  d_o_ = normal_floats(rows * shape.value_dim, random);
  d_lse_ = normal_floats(rows, random);
}

View FlexOperands::view(const std::vector<float>& data, int64_t seq, int64_t heads,
                        int64_t dim) const {
  return {.data = const_cast<float*>(data.data()),
          .dtype = DType::f32,
          .batch = shape_.batch,
          .seq = seq,
          .heads = heads,
          .dim = dim,
          .stride_batch = seq * heads * dim,
          .stride_seq = heads * dim,
          .stride_head = dim};
}

LseView FlexOperands::lse_view(const std::vector<float>& data) const {
  return {const_cast<float*>(data.data()), shape_.q_heads * shape_.q_len, shape_.q_len};
}

FlexResults FlexOperands::empty_results() const {
  FlexResults results;
  results.o = poisoned(d_o_.size());
  results.lse = poisoned(d_lse_.size());
  results.dq = poisoned(q_.size());
  results.dk = poisoned(k_.size());
  results.dv = poisoned(v_.size());
  return results;
}

ForwardOutputs FlexOperands::outputs(FlexResults& results) const {
  return {view(results.o, shape_.q_len, shape_.q_heads, shape_.value_dim), lse_view(results.lse)};
}

BackwardTensors FlexOperands::gradients(FlexResults& results) const {
  BackwardTensors tensors;
  tensors.o = outputs(results).o;
  tensors.lse = outputs(results).lse;
  tensors.d_o = view(d_o_, shape_.q_len, shape_.q_heads, shape_.value_dim);
  tensors.d_lse = lse_view(d_lse_);
  tensors.dq = view(results.dq, shape_.q_len, shape_.q_heads, shape_.head_dim);
  tensors.dk = view(results.dk, shape_.k_len, shape_.kv_heads, shape_.head_dim);
  tensors.dv = view(results.dv, shape_.k_len, shape_.kv_heads, shape_.value_dim);
  return tensors;
}

FlexResults FlexOperands::dense(const DenseMeaning& meaning) const {
  const int64_t pairs = shape_.q_len * shape_.k_len;
  std::vector<uint8_t> mask(static_cast<size_t>(shape_.batch * shape_.q_heads * pairs), 1);
  std::vector<float> bias(mask.size(), 0.0f);
  size_t at = 0;
  for (int64_t b = 0; b < shape_.batch; ++b) {
    for (int64_t h = 0; h < shape_.q_heads; ++h) {
      for (int64_t q = 0; q < shape_.q_len; ++q) {
        for (int64_t kv = 0; kv < shape_.k_len; ++kv, ++at) {
          mask[at] = !meaning.sees || meaning.sees(b, h, q, kv) ? 1 : 0;
          // A masked pair may have no bias at all.
          bias[at] =
              mask[at] != 0 && meaning.bias ? static_cast<float>(meaning.bias(b, h, q, kv)) : 0.0f;
        }
      }
    }
  }
  Problem problem;
  problem.q = q();
  problem.k = k();
  problem.v = v();
  problem.softcap = meaning.softcap;
  problem.mask = {mask.data(), shape_.q_heads * pairs, pairs, shape_.k_len, 1};
  problem.bias = {bias.data(), DType::f32, shape_.q_heads * pairs, pairs, shape_.k_len, 1};
  FlexResults results = empty_results();
  results.d_bias = poisoned(bias.size());
  attention_forward(problem, outputs(results), Backend::reference);
  BackwardTensors tensors = gradients(results);
  tensors.d_bias = {results.d_bias.data(), shape_.q_heads * pairs, pairs, shape_.k_len, 1};
  attention_backward(problem, tensors, Backend::reference);
  return results;
}

FlexResults FlexOperands::flex(FlexAttentionOptions options, Backend backend) const {
  options.documents = shape_.documents();
  FlexResults results = empty_results();
  flex_attention(q(), k(), v(), options, outputs(results), backend);
  BackwardTensors tensors = gradients(results);
  std::vector<float*> d_tensors;
  for (int32_t i = 0; i < options.score_mod.num_tensors; ++i) {
    const ProgramTensor& tensor = options.score_mod.tensors[i];
    size_t count = tensor.is_integer ? 0 : 1;
    for (int32_t axis = 0; axis < tensor.rank; ++axis) {
      count *= static_cast<size_t>(tensor.shape[axis]);
    }
    results.d_tensors.push_back(poisoned(count));
  }
  for (std::vector<float>& gradient : results.d_tensors) {
    d_tensors.push_back(gradient.empty() ? nullptr : gradient.data());
  }
  tensors.d_tensors = d_tensors.empty() ? nullptr : d_tensors.data();
  flex_attention_backward(q(), k(), v(), options, tensors, backend);
  return results;
}

double FlexOperands::loss(FlexAttentionOptions options, Backend backend) const {
  options.documents = shape_.documents();
  FlexResults results = empty_results();
  flex_attention(q(), k(), v(), options, outputs(results), backend);
  double sum = 0.0;
  for (size_t i = 0; i < results.o.size(); ++i) {
    sum += static_cast<double>(results.o[i]) * static_cast<double>(d_o_[i]);
  }
  for (size_t i = 0; i < results.lse.size(); ++i) {
    if (std::isfinite(results.lse[i])) {
      sum += static_cast<double>(results.lse[i]) * static_cast<double>(d_lse_[i]);
    }
  }
  return sum;
}

double difference(const std::vector<float>& values, const std::vector<float>& expected) {
  if (values.size() != expected.size()) {
    return std::numeric_limits<double>::infinity();
  }
  double largest = 0.0, largest_value = 1e-30;
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] == expected[i]) {  // infinities too
      continue;
    }
    const double error = std::fabs(static_cast<double>(values[i]) - expected[i]);
    if (!(error <= std::numeric_limits<float>::max())) {
      return std::numeric_limits<double>::quiet_NaN();
    }
    largest = std::max(largest, error);
  }
  for (const float value : expected) {
    if (std::isfinite(value)) largest_value = std::max(largest_value, std::fabs(double{value}));
  }
  return largest / largest_value;
}

}  // namespace regard::test
