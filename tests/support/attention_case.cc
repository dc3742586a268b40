#include "tests/support/attention_case.h"

#include <cmath>
#include <limits>
#include <random>

#include "api/describe.h"
#include "core/dtype.h"

namespace regard::testing {
namespace {

std::vector<float> random_values(int64_t count, float magnitude, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, magnitude);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = normal(engine);
  }
  return values;
}

struct ScoreStrides {
  int64_t batch, head, query, key;
};

ScoreStrides score_strides(const AttentionCase& config) {
  switch (config.broadcast) {
    case Broadcast::over_batch_and_head:
      return {0, 0, config.sk, 1};
    case Broadcast::over_head_and_query:
      return {config.sk, 0, 0, 1};
    default:
      return {config.q_heads * config.sq * config.sk, config.sq * config.sk, config.sk, 1};
  }
}

}  // namespace

CaseOperands::CaseOperands(const AttentionCase& c)
    : q_(c.dtype, {c.batch, c.sq, c.q_heads, c.d}, c.layout),
      k_(c.dtype, {c.batch, c.sk, c.kv_heads, c.d}, c.layout),
      v_(c.dtype, {c.batch, c.sk, c.kv_heads, c.dv}, c.layout),
      d_o_(c.dtype, {c.batch, c.sq, c.q_heads, c.dv}, c.layout),
      d_lse_(c.batch, c.q_heads, c.sq),
      has_d_lse_(c.has_d_lse) {
  q_.fill(random_values(c.batch * c.sq * c.q_heads * c.d, c.q_magnitude, c.seed));
  k_.fill(random_values(c.batch * c.sk * c.kv_heads * c.d, 1.0f, c.seed + 1));
  v_.fill(random_values(c.batch * c.sk * c.kv_heads * c.dv, 1.0f, c.seed + 2));
  d_o_.fill(random_values(c.batch * c.sq * c.q_heads * c.dv, 1.0f, c.seed + 3));
  d_lse_.fill(random_values(c.batch * c.sq * c.q_heads, 1.0f, c.seed + 4));
  problem_.q = q_.view();
  problem_.k = k_.view();
  problem_.v = v_.view();
  problem_.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.d)));
  problem_.causal = c.causal;
  problem_.window = c.window;
  problem_.softcap = c.softcap;
  problem_.dropout = {.probability = c.dropout, .seed = 0x9E3779B97F4A7C15u + c.seed};
  add_documents(c);
  add_mask_and_bias(c);
  if (c.has_alibi) {
    for (int64_t i = 0; i < c.batch * c.q_heads; ++i) {
      slopes_.push_back(std::exp2(-static_cast<float>(i % 8 + 1)));
    }
    problem_.alibi = {.slopes = slopes_.data(), .stride_batch = c.q_heads};
  }
  if (c.change) {
    c.change(problem_);
  }
}

void CaseOperands::add_documents(const AttentionCase& config) {
  if (config.documents.empty()) {
    return;
  }
  q_offsets_ = {0};
  k_offsets_ = {0};
  for (const auto& document : config.documents) {
    q_offsets_.push_back(q_offsets_.back() + document.first);
    k_offsets_.push_back(k_offsets_.back() + document.second);
  }
  problem_.documents = {.q_offsets = q_offsets_.data(),
                        .k_offsets = k_offsets_.data(),
                        .count = static_cast<int32_t>(config.documents.size())};
}

void CaseOperands::add_mask_and_bias(const AttentionCase& config) {
  const ScoreStrides strides = score_strides(config);
  const auto count = static_cast<size_t>(config.batch * config.q_heads * config.sq * config.sk + 1);
  std::mt19937 engine(config.seed + 5);
  if (config.has_mask) {
    mask_.resize(count);
    for (uint8_t& allowed : mask_) {
      allowed = engine() % 3 == 0 ? 0 : static_cast<uint8_t>(1 + engine() % 255);
    }
    problem_.mask = {mask_.data(), strides.batch, strides.head, strides.query, strides.key};
  }
  if (config.has_bias) {
    bias32_ = random_values(static_cast<int64_t>(count), 1.0f, config.seed + 6);
    for (float& bias : bias32_) {  // some keys are masked by the bias
      bias = engine() % 16 == 0 ? -std::numeric_limits<float>::infinity() : bias;
    }
    const bool is_f32 = config.dtype == DType::f32;
    bias16_.resize(is_f32 ? 0 : count);
    for (size_t i = 0; i < bias16_.size(); ++i) {
      core::store(bias16_.data(), config.dtype, static_cast<int64_t>(i), bias32_[i]);
    }
    problem_.bias = {is_f32 ? static_cast<const void*>(bias32_.data()) : bias16_.data(),
                     config.dtype,
                     strides.batch,
                     strides.head,
                     strides.query,
                     strides.key};
  }
}

std::string AttentionCase::id() const {
  if (!name.empty()) {
    return name;
  }
  const CaseOperands operands(*this);
  std::string text = api::describe(operands.problem());
  text += layout == Layout::bshd ? "_bshd" : layout == Layout::bhsd ? "_bhsd" : "_sliced";
  if (has_mask || has_bias) {
    text += broadcast == Broadcast::full                  ? "_full"
            : broadcast == Broadcast::over_batch_and_head ? "_queryxkey"
                                                          : "_key";
  }
  text += has_d_lse ? "_dlse" : "";
  text += q_magnitude > 1.0f ? "_large" : "";
  if (gradient_dtype != dtype) {
    text += std::string("_grad") + core::name_of(gradient_dtype);
  }
  return text + "_seed" + std::to_string(seed);
}

}  // namespace regard::testing
