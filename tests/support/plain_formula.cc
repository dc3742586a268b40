#include "tests/support/plain_formula.h"

#include <cmath>
#include <limits>

#include "core/dtype.h"
#include "core/mask.h"
#include "core/philox.h"
#include "core/sequences.h"

namespace regard::testing {
namespace {

using Matrix = std::vector<float>;  // row-major

float rounded(float value, DType dtype) {
  switch (dtype) {
    case DType::f16:
      return core::f32_from_f16(core::f16_from_f32(value));
    case DType::bf16:
      return core::f32_from_bf16(core::bf16_from_f32(value));
    default:
      return value;
  }
}

// One (sequence, query head) of the problem as dense matrices.
struct HeadProblem {
  const Problem& problem;
  core::Sequence sequence;
  int64_t head, kv_head;

  int64_t num_queries() const { return sequence.q_len; }
  int64_t num_keys() const { return sequence.k_len; }
  DType dtype() const { return problem.q.dtype; }
  float round(float value) const { return rounded(value, dtype()); }

  Matrix rows(const View& view, int64_t begin, int64_t length, int64_t view_head) const {
    Matrix values;
    for (int64_t i = 0; i < length; ++i) {
      const int64_t row = core::row_offset(view, sequence.batch, begin + i, view_head);
      for (int64_t d = 0; d < view.dim; ++d) {
        values.push_back(core::load(view.data, view.dtype, row + d));
      }
    }
    return values;
  }
  Matrix queries(const View& view) const {
    return rows(view, sequence.q_begin, sequence.q_len, head);
  }
  Matrix keys(const View& view) const {
    return rows(view, sequence.k_begin, sequence.k_len, kv_head);
  }
};

// [m, n] = A [m, k] B [n, k]^T, rounded
Matrix times_transposed(const HeadProblem& at, const Matrix& a, const Matrix& b, int64_t m,
                        int64_t n, int64_t k) {
  Matrix c(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (int64_t l = 0; l < k; ++l) {
        sum += a[static_cast<size_t>(i * k + l)] * b[static_cast<size_t>(j * k + l)];
      }
      c[static_cast<size_t>(i * n + j)] = at.round(sum);
    }
  }
  return c;
}

// [m, n] = A [m, k] B [k, n], rounded; A is read transposed where `a_is_transposed` ([k, m] then)
Matrix times(const HeadProblem& at, const Matrix& a, bool a_is_transposed, const Matrix& b,
             int64_t m, int64_t n, int64_t k) {
  Matrix c(static_cast<size_t>(m * n), 0.0f);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t l = 0; l < k; ++l) {
      const float factor = a[static_cast<size_t>(a_is_transposed ? l * m + i : i * k + l)];
      for (int64_t j = 0; j < n; ++j) {
        c[static_cast<size_t>(i * n + j)] += factor * b[static_cast<size_t>(l * n + j)];
      }
    }
  }
  for (float& value : c) {
    value = at.round(value);
  }
  return c;
}

float added_bias(const HeadProblem& at, int64_t query, int64_t key) {
  const Problem& problem = at.problem;
  const int64_t q_seq = at.sequence.q_begin + query, k_seq = at.sequence.k_begin + key;
  const int64_t batch = at.sequence.batch;
  float bias = 0;
  if (problem.mask.data != nullptr) {
    const MaskTensor& mask = problem.mask;
    const bool allowed = mask.data[batch * mask.stride_batch + at.head * mask.stride_head +
                                   q_seq * mask.stride_q + k_seq * mask.stride_k] != 0;
    bias = allowed ? 0.0f : -std::numeric_limits<float>::infinity();
  }
  if (problem.bias.data != nullptr) {
    const BiasTensor& tensor = problem.bias;
    bias += core::load(tensor.data, tensor.dtype,
                       batch * tensor.stride_batch + at.head * tensor.stride_head +
                           q_seq * tensor.stride_q + k_seq * tensor.stride_k);
  }
  if (problem.alibi.slopes != nullptr) {
    const float slope = problem.alibi.slopes[batch * problem.alibi.stride_batch + at.head];
    bias -= slope * static_cast<float>(core::alibi_distance(at.sequence, query, key));
  }
  if (!core::key_interval(problem, at.sequence, at.head, query).contains(key)) {
    bias = -std::numeric_limits<float>::infinity();
  }
  return bias;
}

struct Weights {
  Matrix p;           // softmax, rounded
  Matrix tanh;        // of score / softcap
  Matrix multiplier;  // of dropout
  Matrix lse;         // [queries]
};

void softmax(const HeadProblem& at, Matrix& scores, Weights& weights) {
  const int64_t num_keys = at.num_keys();
  for (int64_t i = 0; i < at.num_queries(); ++i) {
    float* row = scores.data() + i * num_keys;
    float largest = -std::numeric_limits<float>::infinity();
    for (int64_t j = 0; j < num_keys; ++j) {
      largest = std::fmax(largest, row[j]);
    }
    float sum = 0;
    for (int64_t j = 0; j < num_keys && std::isfinite(largest); ++j) {
      sum += std::exp(row[j] - largest);
    }
    weights.lse.push_back(largest + std::log(sum));
    for (int64_t j = 0; j < num_keys; ++j) {
      row[j] = sum > 0 ? at.round(std::exp(row[j] - largest) / sum) : 0.0f;
    }
  }
  weights.p = scores;
}

Weights weights_of(const HeadProblem& at) {
  const Problem& problem = at.problem;
  const int64_t num_keys = at.num_keys();
  Weights weights;
  Matrix scores = times_transposed(at, at.queries(problem.q), at.keys(problem.k), at.num_queries(),
                                   num_keys, problem.q.dim);
  for (int64_t i = 0; i < at.num_queries(); ++i) {
    for (int64_t j = 0; j < num_keys; ++j) {
      float& score = scores[static_cast<size_t>(i * num_keys + j)];
      score = at.round(score * problem.scale);
      if (problem.softcap > 0) {
        weights.tanh.push_back(at.round(std::tanh(at.round(score / problem.softcap))));
        score = at.round(weights.tanh.back() * problem.softcap);
      }
      score = at.round(score + added_bias(at, i, j));
      const float probability = problem.dropout.probability;
      const bool kept =
          probability == 0 || core::is_kept(problem.dropout, at.sequence.index, at.head, i, j);
      weights.multiplier.push_back(kept ? 1.0f / (1.0f - probability) : 0.0f);
    }
  }
  softmax(at, scores, weights);
  return weights;
}

// dS from dP, both [queries, keys]; also multiplies by the scale.
Matrix score_gradient(const HeadProblem& at, const Weights& weights, const Matrix& d_dropped,
                      const LseView& d_lse) {
  const int64_t num_keys = at.num_keys();
  Matrix ds(d_dropped.size());
  for (int64_t i = 0; i < at.num_queries(); ++i) {
    float mean = 0;
    for (int64_t j = 0; j < num_keys; ++j) {
      const auto at_ij = static_cast<size_t>(i * num_keys + j);
      ds[at_ij] = at.round(d_dropped[at_ij] * weights.multiplier[at_ij]);
      mean += ds[at_ij] * weights.p[at_ij];
    }
    if (d_lse.data != nullptr) {
      mean -= d_lse.data[at.sequence.batch * d_lse.stride_batch + at.head * d_lse.stride_head +
                         at.sequence.q_begin + i];
    }
    for (int64_t j = 0; j < num_keys; ++j) {
      const auto at_ij = static_cast<size_t>(i * num_keys + j);
      float gradient = at.round(weights.p[at_ij] * (ds[at_ij] - mean));
      if (at.problem.softcap > 0) {
        gradient = at.round(gradient * (1 - weights.tanh[at_ij] * weights.tanh[at_ij]));
      }
      ds[at_ij] = at.round(gradient * at.problem.scale);
    }
  }
  return ds;
}

void scatter(const HeadProblem& at, const View& like, int64_t begin, int64_t head, int64_t dim,
             const Matrix& rows, bool adds, std::vector<float>& dense) {
  const int64_t num_rows = dim == 0 ? 0 : static_cast<int64_t>(rows.size()) / dim;
  for (int64_t i = 0; i < num_rows; ++i) {
    for (int64_t d = 0; d < dim; ++d) {
      float& target = dense[static_cast<size_t>(
          ((at.sequence.batch * like.seq + begin + i) * like.heads + head) * dim + d)];
      const float value = rows[static_cast<size_t>(i * dim + d)];
      target = adds ? at.round(target + value) : value;
    }
  }
}

void add_head(const HeadProblem& at, const View& d_o, const LseView& d_lse, PlainResults& out) {
  const Problem& problem = at.problem;
  const int64_t sq = at.num_queries(), sk = at.num_keys();
  const int64_t d = problem.q.dim, dv = problem.v.dim;
  const Weights weights = weights_of(at);
  Matrix dropped = weights.p;
  for (size_t i = 0; i < dropped.size(); ++i) {
    dropped[i] = at.round(dropped[i] * weights.multiplier[i]);
  }
  const Matrix d_out = at.queries(d_o);
  const Matrix v = at.keys(problem.v);
  const Matrix ds = score_gradient(at, weights, times_transposed(at, d_out, v, sq, sk, dv), d_lse);
  const core::Sequence& sequence = at.sequence;
  scatter(at, problem.q, sequence.q_begin, at.head, dv, times(at, dropped, false, v, sq, dv, sk),
          false, out.o);
  scatter(at, problem.q, sequence.q_begin, at.head, d,
          times(at, ds, false, at.keys(problem.k), sq, d, sk), false, out.dq);
  scatter(at, problem.k, sequence.k_begin, at.kv_head, d,
          times(at, ds, true, at.queries(problem.q), sk, d, sq), true, out.dk);
  scatter(at, problem.k, sequence.k_begin, at.kv_head, dv,
          times(at, dropped, true, d_out, sk, dv, sq), true, out.dv);
  for (int64_t i = 0; i < sq; ++i) {
    out.lse[static_cast<size_t>((sequence.batch * problem.q.heads + at.head) * problem.q.seq +
                                sequence.q_begin + i)] = weights.lse[static_cast<size_t>(i)];
  }
}

}  // namespace

PlainResults plain_formula(const Problem& problem, const View& d_o, const LseView& d_lse) {
  const View &q = problem.q, &k = problem.k, &v = problem.v;
  PlainResults out;
  out.o.assign(static_cast<size_t>(q.batch * q.seq * q.heads * v.dim), 0.0f);
  out.lse.assign(static_cast<size_t>(q.batch * q.seq * q.heads), 0.0f);
  out.dq.assign(static_cast<size_t>(q.batch * q.seq * q.heads * q.dim), 0.0f);
  out.dk.assign(static_cast<size_t>(k.batch * k.seq * k.heads * k.dim), 0.0f);
  out.dv.assign(static_cast<size_t>(v.batch * v.seq * v.heads * v.dim), 0.0f);
  for (int64_t index = 0; index < core::num_sequences(problem); ++index) {
    for (int64_t head = 0; head < q.heads; ++head) {
      const HeadProblem at{problem, core::sequence_at(problem, index), head,
                           core::kv_head_of(problem, head)};
      add_head(at, d_o, d_lse, out);
    }
  }
  return out;
}

}  // namespace regard::testing
