#include "attention_case.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "core/dtype.h"
#include "reference/attention.h"

namespace regard::test {
namespace {

constexpr float kPoison = -777.0f;
constexpr int64_t kGap = 3;  // elements between rows: odd, so that rows are not aligned

CaseData::Tensor make_tensor(DType dtype, int64_t batch, int64_t seq, int64_t heads, int64_t dim) {
  CaseData::Tensor tensor;
  tensor.view = {.data = nullptr,
                 .dtype = dtype,
                 .batch = batch,
                 .seq = seq,
                 .heads = heads,
                 .dim = dim,
                 .stride_batch = seq * heads * (dim + kGap),
                 .stride_seq = heads * (dim + kGap),
                 .stride_head = dim + kGap};
  const int64_t rows = batch * seq * heads;
  const auto size = static_cast<size_t>(rows > 0 ? rows * (dim + kGap) - kGap : 0);
  if (dtype == DType::f32) {
    tensor.f32.assign(size, kPoison);
    tensor.f32.shrink_to_fit();
    tensor.view.data = tensor.f32.data();
  } else {
    tensor.f16.assign(size, 0);
    tensor.f16.shrink_to_fit();
    tensor.view.data = tensor.f16.data();
    for (size_t i = 0; i < size; ++i) {
      core::store(tensor.view.data, dtype, static_cast<int64_t>(i), kPoison);
    }
  }
  return tensor;
}

template <class Visit>
void visit_elements(const View& view, const Visit& visit) {
  for (int64_t b = 0; b < view.batch; ++b) {
    for (int64_t s = 0; s < view.seq; ++s) {
      for (int64_t h = 0; h < view.heads; ++h) {
        for (int64_t i = 0; i < view.dim; ++i) {
          visit(core::row_offset(view, b, s, h) + i);
        }
      }
    }
  }
}

void randomise(CaseData::Tensor& tensor, float size, std::mt19937& random) {
  std::normal_distribution<float> normal(0.0f, size);
  visit_elements(tensor.view, [&](int64_t at) {
    core::store(tensor.view.data, tensor.view.dtype, at, normal(random));
  });
}

std::vector<float> values_of(const View& view) {
  std::vector<float> values;
  visit_elements(view,
                 [&](int64_t at) { values.push_back(core::load(view.data, view.dtype, at)); });
  return values;
}

bool has_touched_gaps(const CaseData::Tensor& tensor) {
  const int64_t size =
      static_cast<int64_t>(tensor.f32.empty() ? tensor.f16.size() : tensor.f32.size());
  const int64_t row = tensor.view.dim + kGap;
  CaseData::Tensor poison = make_tensor(tensor.view.dtype, 1, 1, 1, 1);
  const float expected = core::load(poison.view.data, tensor.view.dtype, 0);
  for (int64_t i = 0; i < size; ++i) {
    if (i % row >= tensor.view.dim &&
        core::load(tensor.view.data, tensor.view.dtype, i) != expected) {
      return true;
    }
  }
  return false;
}

double error_of(const std::vector<float>& got, const std::vector<float>& expected) {
  double largest = 1e-3;  // gradients that are zero in theory have no scale of their own
  double difference = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::isinf(expected[i]) || std::isinf(got[i])) {
      if (got[i] != expected[i]) {
        return std::numeric_limits<double>::infinity();
      }
      continue;
    }
    if (std::isnan(got[i])) {
      return std::numeric_limits<double>::infinity();
    }
    largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
    difference = std::max(difference, std::abs(static_cast<double>(got[i]) - expected[i]));
  }
  return difference / largest;
}

}  // namespace

CaseData::CaseData(const AttentionCase& c, uint32_t seed) : case_(c) {
  std::mt19937 random(seed);
  q = make_tensor(c.dtype, c.batch, c.q_len, c.q_heads, c.head_dim);
  k = make_tensor(c.dtype, c.batch, c.k_len, c.kv_heads, c.head_dim);
  v = make_tensor(c.dtype, c.batch, c.k_len, c.kv_heads, c.value_dim);
  o = make_tensor(c.dtype, c.batch, c.q_len, c.q_heads, c.value_dim);
  d_o = make_tensor(c.dtype, c.batch, c.q_len, c.q_heads, c.value_dim);
  dq = make_tensor(c.dtype, c.batch, c.q_len, c.q_heads, c.head_dim);
  dk = make_tensor(c.dtype, c.batch, c.k_len, c.kv_heads, c.head_dim);
  dv = make_tensor(c.dtype, c.batch, c.k_len, c.kv_heads, c.value_dim);
  randomise(q, c.score_size, random);
  randomise(k, c.score_size, random);
  randomise(v, 1.0f, random);
  randomise(d_o, 1.0f, random);
  lse.assign(static_cast<size_t>(c.batch * c.q_heads * c.q_len), kPoison);
  std::normal_distribution<float> normal;
  if (c.has_d_lse) {
    d_lse.resize(lse.size());
    std::generate(d_lse.begin(), d_lse.end(), [&] { return normal(random); });
  }
  const auto scores = static_cast<size_t>(c.q_heads * c.q_len * c.k_len);
  if (c.has_bias) {
    bias.resize(scores);
    std::generate(bias.begin(), bias.end(), [&] { return normal(random); });
  }
  if (c.has_mask) {
    mask.resize(scores);
    std::generate(mask.begin(), mask.end(), [&] { return normal(random) > -0.5f; });
    // one row that sees nothing
    std::fill_n(mask.begin(), std::min<size_t>(mask.size(), static_cast<size_t>(c.k_len)),
                uint8_t{0});
  }
  for (int64_t h = 0; c.has_alibi && h < c.q_heads; ++h) {
    slopes.push_back(0.5f / static_cast<float>(h + 1));
  }
}

Problem CaseData::problem() const {
  const AttentionCase& c = case_;
  Problem problem;
  problem.q = q.view;
  problem.k = k.view;
  problem.v = v.view;
  problem.scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  problem.causal = c.causal;
  problem.window = c.window;
  problem.softcap = c.softcap;
  problem.dropout = {c.dropout, 1234567};
  if (!c.q_offsets.empty()) {
    problem.documents = {c.q_offsets.data(), c.k_offsets.data(),
                         static_cast<int32_t>(c.q_offsets.size() - 1)};
  }
  const int64_t head_stride = c.q_len * c.k_len;
  if (c.has_mask) {
    problem.mask = {mask.data(), 0, head_stride, c.k_len, 1};
  }
  if (c.has_bias) {
    problem.bias = {bias.data(), DType::f32, 0, head_stride, c.k_len, 1};
  }
  if (c.has_alibi) {
    problem.alibi = {slopes.data(), 0};
  }
  return problem;
}

ForwardOutputs CaseData::outputs() {
  return {o.view, {lse.data(), case_.q_heads * case_.q_len, case_.q_len}};
}

BackwardTensors CaseData::gradients() {
  const LseView lse_view{lse.data(), case_.q_heads * case_.q_len, case_.q_len};
  LseView d_lse_view = lse_view;
  d_lse_view.data = case_.has_d_lse ? d_lse.data() : nullptr;
  return {.o = o.view,
          .lse = lse_view,
          .d_o = d_o.view,
          .d_lse = d_lse_view,
          .dq = dq.view,
          .dk = dk.view,
          .dv = dv.view};
}

Judge::Judge(const AttentionCase& attention_case, uint32_t seed)
    : case_(attention_case), seed_(seed), expected_(attention_case, seed) {
  reference::forward(expected_.problem(), expected_.outputs());
  reference::backward(expected_.problem(), expected_.gradients());
}

Errors Judge::errors_of(ForwardFunction forward, BackwardFunction backward) const {
  CaseData got(case_, seed_);
  forward(got.problem(), got.outputs());
  backward(got.problem(), got.gradients());
  Errors errors;
  errors.o = error_of(values_of(got.o.view), values_of(expected_.o.view));
  errors.lse = error_of(got.lse, expected_.lse);
  errors.dq = error_of(values_of(got.dq.view), values_of(expected_.dq.view));
  errors.dk = error_of(values_of(got.dk.view), values_of(expected_.dk.view));
  errors.dv = error_of(values_of(got.dv.view), values_of(expected_.dv.view));
  for (const CaseData::Tensor* tensor : {&got.o, &got.dq, &got.dk, &got.dv}) {
    errors.has_touched_gaps = errors.has_touched_gaps || has_touched_gaps(*tensor);
  }
  return errors;
}

std::vector<float> all_outputs(const AttentionCase& attention_case, ForwardFunction forward,
                               BackwardFunction backward, uint32_t seed) {
  CaseData data(attention_case, seed);
  forward(data.problem(), data.outputs());
  backward(data.problem(), data.gradients());
  std::vector<float> all = data.lse;
  for (const View& view : {data.o.view, data.dq.view, data.dk.view, data.dv.view}) {
    const std::vector<float> values = values_of(view);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

double tolerance(const AttentionCase& attention_case) {
  const double size = attention_case.score_size;
  const double f32 = 2e-6 + 4 * size * size * 0x1p-23;
  switch (attention_case.dtype) {
    case DType::f32:
      return f32;
    case DType::f16:
      return f32 + 2e-3;  // delta is formed with a rounded O: a few halves of 2^-11
    default:
      return f32 + 1.6e-2;  // the same with 2^-8
  }
}

std::vector<AttentionCase> attention_cases() {
  constexpr auto kUpper = Causal::upper_left;
  constexpr auto kLower = Causal::lower_right;
  return {
      {.name = "one_token", .q_len = 1, .k_len = 1, .head_dim = 1, .value_dim = 1},
      {.name = "full_d64", .q_len = 200, .k_len = 300, .head_dim = 64, .value_dim = 64},
      {.name = "full_d80_dv40", .q_len = 97, .k_len = 193, .head_dim = 80, .value_dim = 40},
      {.name = "d7_dv513_edge", .q_len = 13, .k_len = 29, .head_dim = 7, .value_dim = 509},
      {.name = "causal_upper",
       .q_len = 400,
       .k_len = 400,
       .head_dim = 64,
       .value_dim = 64,
       .causal = kUpper},
      {.name = "causal_upper_short_keys", .q_len = 300, .k_len = 111, .causal = kUpper},
      {.name = "causal_lower_long_keys", .q_len = 111, .k_len = 450, .causal = kLower},
      {.name = "causal_lower_short_keys", .q_len = 260, .k_len = 100, .causal = kLower},
      {.name = "gqa3_causal",
       .batch = 2,
       .q_heads = 6,
       .kv_heads = 2,
       .q_len = 130,
       .k_len = 130,
       .head_dim = 64,
       .value_dim = 64,
       .causal = kLower},
      {.name = "decode_gqa4",
       .batch = 3,
       .q_heads = 8,
       .kv_heads = 2,
       .q_len = 1,
       .k_len = 333,
       .head_dim = 64,
       .value_dim = 64,
       .causal = kLower},
      {.name = "window_100_0",
       .q_heads = 2,
       .kv_heads = 1,
       .q_len = 500,
       .k_len = 500,
       .causal = kLower,
       .window = {100, 0}},
      {.name = "window_20_30", .q_len = 300, .k_len = 260, .window = {20, 30}},
      {.name = "window_upper", .q_len = 300, .k_len = 100, .causal = kUpper, .window = {10, -1}},
      {.name = "documents_causal_gqa3",
       .q_heads = 3,
       .kv_heads = 1,
       .q_len = 400,
       .k_len = 400,
       .head_dim = 64,
       .value_dim = 64,
       .causal = kLower,
       .q_offsets = {0, 1, 1, 100, 340, 400},
       .k_offsets = {0, 1, 1, 100, 340, 400}},
      {.name = "documents_unequal",
       .q_len = 120,
       .k_len = 200,
       .causal = kLower,
       .q_offsets = {0, 50, 50, 120},
       .k_offsets = {0, 120, 200, 200}},
      {.name = "mask", .q_heads = 2, .kv_heads = 2, .q_len = 100, .k_len = 210, .has_mask = true},
      {.name = "bias_causal",
       .q_heads = 2,
       .kv_heads = 1,
       .q_len = 110,
       .k_len = 210,
       .causal = kLower,
       .has_bias = true},
      {.name = "alibi_causal",
       .q_heads = 4,
       .kv_heads = 2,
       .q_len = 110,
       .k_len = 210,
       .causal = kLower,
       .has_alibi = true},
      {.name = "softcap", .q_len = 110, .k_len = 210, .softcap = 2.0f},
      {.name = "dropout",
       .q_heads = 2,
       .kv_heads = 1,
       .q_len = 110,
       .k_len = 210,
       .causal = kLower,
       .dropout = 0.3f},
      {.name = "d_lse", .q_len = 110, .k_len = 210, .causal = kLower, .has_d_lse = true},
      {.name = "everything",
       .batch = 2,
       .q_heads = 4,
       .kv_heads = 2,
       .q_len = 150,
       .k_len = 250,
       .head_dim = 24,
       .value_dim = 48,
       .causal = kLower,
       .window = {90, 0},
       .has_mask = true,
       .has_bias = true,
       .has_alibi = true,
       .has_d_lse = true,
       .softcap = 3.0f,
       .dropout = 0.2f},
      {.name = "no_keys", .q_len = 5, .k_len = 0},
      {.name = "large_scores", .q_len = 100, .k_len = 200, .causal = kLower, .score_size = 4.0f},
      {.name = "bf16_gqa2_causal",
       .dtype = DType::bf16,
       .q_heads = 4,
       .kv_heads = 2,
       .q_len = 200,
       .k_len = 200,
       .head_dim = 64,
       .value_dim = 64,
       .causal = kLower},
      {.name = "f16_window",
       .dtype = DType::f16,
       .q_len = 200,
       .k_len = 200,
       .head_dim = 40,
       .value_dim = 72,
       .causal = kLower,
       .window = {64, 0}},
  };
}

}  // namespace regard::test
