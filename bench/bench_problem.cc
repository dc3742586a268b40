#include "bench/bench_problem.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "core/dtype.h"
#include "core/mask.h"

namespace regard::bench {
namespace {

constexpr uint32_t kSeed = 1;

// Largest difference between two views relative to the largest value of `expected`; NaN is
// infinite.
double error_of(const View& got, const View& expected, int64_t seq_shift) {
  double largest = 1e-6;
  double difference = 0;
  for (int64_t b = 0; b < expected.batch; ++b) {
    for (int64_t s = 0; s < expected.seq; ++s) {
      for (int64_t h = 0; h < expected.heads; ++h) {
        for (int64_t i = 0; i < expected.dim; ++i) {
          const double e =
              core::load(expected.data, expected.dtype, core::row_offset(expected, b, s, h) + i);
          const double g =
              core::load(got.data, got.dtype, core::row_offset(got, b, s + seq_shift, h) + i);
          largest = std::max(largest, std::abs(e));
          difference = std::isnan(g) ? INFINITY : std::max(difference, std::abs(g - e));
        }
      }
    }
  }
  return difference / largest;
}

std::string complaint(const char* name, double error, double limit) {
  return error <= limit ? ""
                        : std::string(name) + " differs from the reference by " +
                              std::to_string(error) + " (limit " + std::to_string(limit) + ")";
}

}  // namespace

std::string id_of(const Shape& shape) {
  std::string id;
  for (const int64_t extent :
       {shape.batch, shape.q_heads, shape.kv_heads, shape.q_len, shape.k_len, shape.head_dim}) {
    id += (id.empty() ? "" : ".") + std::to_string(extent);
  }
  id += shape.causal == Causal::none ? "/full" : "/causal";
  id += shape.window_left < 0 ? "" : "_window" + std::to_string(shape.window_left);
  constexpr const char* kTerms[] = {"", "_mask", "_bias", "_dbias", "_dslopes"};
  return id + kTerms[static_cast<int>(shape.terms)];
}

double forward_flops(const Shape& shape) {
  double pairs = 0;
  for (int64_t query = 0; query < shape.q_len; ++query) {
    const core::KeyInterval keys =
        core::key_interval(shape.causal, {shape.window_left, -1}, shape.q_len, shape.k_len, query);
    pairs += static_cast<double>(keys.hi - keys.lo);
  }
  return 4.0 * static_cast<double>(shape.batch * shape.q_heads * shape.head_dim) * pairs;
}

BenchProblem::BenchProblem(const Shape& shape, DType dtype, Backend backend) {
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal;
  for (const char kind : {'q', 'k', 'k', 'q', 'q', 'q', 'k', 'k'}) {
    const int64_t heads = kind == 'q' ? shape.q_heads : shape.kv_heads;
    const int64_t seq = kind == 'q' ? shape.q_len : shape.k_len;
    const int64_t row = heads * shape.head_dim;
    memory_.emplace_back(static_cast<size_t>(shape.batch * seq * row));
    views_.push_back({memory_.back().data(), dtype, shape.batch, seq, heads, shape.head_dim,
                      seq * row, row, shape.head_dim});
    for (int64_t i = 0; i < shape.batch * seq * row; ++i) {
      core::store(views_.back().data, dtype, i, normal(random));
    }
  }
  lse_.resize(static_cast<size_t>(shape.batch * shape.q_heads * shape.q_len));
  lse_view_ = {lse_.data(), shape.q_heads * shape.q_len, shape.q_len};
  problem_.q = views_[0];
  problem_.k = views_[1];
  problem_.v = views_[2];
  problem_.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  problem_.causal = shape.causal;
  problem_.window.left = shape.window_left;
  if (backend == Backend::cpu_sage) {
    problem_.quantization = {.scores = ScoreFormat::int8, .values = ValueFormat::f16};
  }
  add_terms(shape);
}

void BenchProblem::add_terms(const Shape& shape) {
  std::mt19937 random(kSeed);
  const int64_t matrix = shape.q_len * shape.k_len;
  const auto entries = static_cast<size_t>(shape.q_heads * matrix);
  if (shape.terms == Terms::mask) {
    mask_.resize(entries);
    std::generate(mask_.begin(), mask_.end(), [&] { return random() % 4 != 0; });
    problem_.mask = {mask_.data(), 0, matrix, shape.k_len, 1};
  } else if (shape.terms == Terms::bias || shape.terms == Terms::d_bias) {
    std::normal_distribution<float> normal;
    bias_.resize(entries);
    std::generate(bias_.begin(), bias_.end(), [&] { return normal(random); });
    problem_.bias = {bias_.data(), DType::f32, 0, matrix, shape.k_len, 1};
    d_bias_.resize(shape.terms == Terms::d_bias ? entries : 0);
  } else if (shape.terms == Terms::d_slopes) {
    slopes_.assign(static_cast<size_t>(shape.q_heads), 0.1f);
    d_slopes_ = slopes_;
    problem_.alibi.slopes = slopes_.data();
  }
}

BackwardTensors BenchProblem::gradients() {
  BackwardTensors tensors{.o = views_[3],
                          .lse = lse_view_,
                          .d_o = views_[4],
                          .d_lse = {},
                          .dq = views_[5],
                          .dk = views_[6],
                          .dv = views_[7]};
  if (!d_bias_.empty()) {
    const BiasTensor& bias = problem_.bias;
    tensors.d_bias = {d_bias_.data(), bias.stride_batch, bias.stride_head, bias.stride_q,
                      bias.stride_k};
  }
  tensors.d_slopes = d_slopes_.empty() ? nullptr : d_slopes_.data();
  return tensors;
}

std::string BenchProblem::check(const Shape& shape, DType dtype, Backend backend) {
  const bool is_f32 = dtype == DType::f32 && backend != Backend::cpu_sage;  // which rounds to f16
  const double limit = is_f32 ? 1e-5 : dtype == DType::bf16 ? 3e-2 : 4e-3;
  Shape cut = shape;
  cut.q_len = std::min<int64_t>(shape.q_len, 160);
  cut.k_len = std::min<int64_t>(shape.k_len, 160);
  cut.batch = 1;
  BenchProblem got(cut, dtype, backend);
  BenchProblem expected(cut, dtype, backend);
  attention_forward(got.problem(), got.outputs(), backend);
  attention_forward(expected.problem(), expected.outputs(), Backend::reference);
  if (backend != Backend::cpu_decode) {  // which has a forward only
    attention_backward(got.problem(), got.gradients(), backend);
    attention_backward(expected.problem(), expected.gradients(), Backend::reference);
  }
  std::string complaints;
  const char* names[] = {"q", "k", "v", "O", "dO", "dQ", "dK", "dV"};
  for (const size_t i : {3, 5, 6, 7}) {
    complaints += complaint(names[i], error_of(got.views_[i], expected.views_[i], 0), limit);
  }
  if (backend == Backend::cpu_sage) {
    return complaints;
  }
  BenchProblem whole(shape, dtype, backend);
  attention_forward(whole.problem(), whole.outputs(), backend);
  BenchProblem slice(shape, dtype, backend);
  Problem last = slice.problem_;
  const int64_t rows = std::min<int64_t>(4, shape.q_len);
  const int64_t shift = shape.q_len - rows;
  last.q.data = static_cast<char*>(last.q.data) + shift * last.q.stride_seq * core::bytes_of(dtype);
  last.q.seq = rows;
  if (last.mask.data != nullptr) {
    last.mask.data += shift * last.mask.stride_q;
  }
  if (last.bias.data != nullptr) {
    last.bias.data = static_cast<const float*>(last.bias.data) + shift * last.bias.stride_q;
  }
  View o = slice.views_[3];
  o.seq = rows;
  attention_forward(last, {o, slice.lse_view_}, Backend::reference);
  return complaints + complaint("O (last rows)", error_of(whole.views_[3], o, shift), limit);
}

}  // namespace regard::bench
