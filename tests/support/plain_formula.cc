#include "tests/support/plain_formula.h"

#include <cmath>
#include <limits>
#include <optional>

#include "core/dtype.h"
#include "core/mask.h"
#include "core/philox.h"
#include "core/sequences.h"
#include "program/evaluate.h"
#include "tests/support/attention_case.h"
#include "tests/support/plain_head.h"
#include "tests/support/plain_score_gradients.h"
#include "tests/support/visible_pairs.h"

namespace regard::testing {
namespace {

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
      if (factor == 0.0f) {
        continue;  // what is masked has weight 0 and may hold NaN
      }
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

// Bias and ALiBi.
float added_bias(const HeadProblem& at, int64_t query, int64_t key) {
  const Problem& problem = at.problem;
  const int64_t q_seq = at.sequence.q_begin + query, k_seq = at.sequence.k_begin + key;
  const int64_t batch = at.sequence.batch;
  float bias = 0;
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
  return bias;
}

struct Weights {
  Matrix p;           // softmax, rounded
  Matrix tanh;        // of score / softcap
  Matrix raw;         // what the score program reads
  Matrix multiplier;  // of dropout
  Matrix lse;         // [queries]
  Matrix sink;        // [queries], of the softmax
};

void softmax(const HeadProblem& at, Matrix& scores, Weights& weights) {
  const int64_t num_keys = at.num_keys();
  const float* sinks = at.problem.sink.logits;
  const float sink = sinks != nullptr ? sinks[at.head] : kMinusInfinity;
  for (int64_t i = 0; i < at.num_queries(); ++i) {
    float* row = scores.data() + i * num_keys;
    float largest = sink;
    for (int64_t j = 0; j < num_keys; ++j) {
      largest = std::fmax(largest, row[j]);
    }
    const bool is_seen = std::isfinite(largest);
    float sum = is_seen ? std::exp(sink - largest) : 0.0f;
    weights.sink.push_back(sum);
    for (int64_t j = 0; j < num_keys && is_seen; ++j) {
      sum += std::exp(row[j] - largest);
    }
    weights.lse.push_back(largest + std::log(sum));
    weights.sink.back() = sum > 0 ? at.round(weights.sink.back() / sum) : 0.0f;
    for (int64_t j = 0; j < num_keys; ++j) {
      row[j] = sum > 0 ? at.round(std::exp(row[j] - largest) / sum) : 0.0f;
    }
  }
  weights.p = scores;
}

Weights weights_of(const HeadProblem& at) {
  const Problem& problem = at.problem;
  const int64_t num_keys = at.num_keys();
  std::optional<program::Evaluator> program = at.score_program();
  Weights weights;
  Matrix scores = times_transposed(at, at.queries(problem.q, problem.descale.q),
                                   at.keys(problem.k, problem.descale.k), at.num_queries(),
                                   num_keys, problem.q.dim);
  for (int64_t i = 0; i < at.num_queries(); ++i) {
    for (int64_t j = 0; j < num_keys; ++j) {
      float& score = scores[static_cast<size_t>(i * num_keys + j)];
      score = at.round(score * problem.scale);
      if (problem.softcap > 0) {
        weights.tanh.push_back(at.round(std::tanh(at.round(score / problem.softcap))));
        score = at.round(weights.tanh.back() * problem.softcap);
      }
      const bool is_seen = sees(problem, at.sequence, at.head, i, j);
      weights.raw.push_back(score);
      if (program && is_seen) {
        score = at.round(static_cast<float>(program->value(at.point(i, j, score))));
      }
      score = is_seen ? at.round(score + added_bias(at, i, j)) : kMinusInfinity;
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
                      const LseView& d_lse, PlainScoreGradients& sums) {
  const int64_t num_keys = at.num_keys();
  std::optional<program::Evaluator> program = at.score_program();
  Matrix ds(d_dropped.size());
  for (int64_t i = 0; i < at.num_queries(); ++i) {
    float mean = 0;
    for (int64_t j = 0; j < num_keys; ++j) {
      const auto at_ij = static_cast<size_t>(i * num_keys + j);
      const bool is_live = weights.p[at_ij] != 0.0f;
      ds[at_ij] = is_live ? at.round(d_dropped[at_ij] * weights.multiplier[at_ij]) : 0.0f;
      mean += ds[at_ij] * weights.p[at_ij];
    }
    if (d_lse.data != nullptr) {
      mean -= d_lse.data[at.sequence.batch * d_lse.stride_batch + at.head * d_lse.stride_head +
                         at.sequence.q_begin + i];
    }
    sums.add_sink(at, at.round(weights.sink[static_cast<size_t>(i)] * -mean));
    for (int64_t j = 0; j < num_keys; ++j) {
      const auto at_ij = static_cast<size_t>(i * num_keys + j);
      float gradient = at.round(weights.p[at_ij] * (ds[at_ij] - mean));
      sums.add(at, i, j, gradient);
      if (program && gradient != 0.0f) {
        const ProgramPoint point = at.point(i, j, weights.raw[at_ij]);
        sums.add_tensors(*program, point, gradient);
        gradient = at.round(gradient * static_cast<float>(program->d_score(point)));
      }
      if (at.problem.softcap > 0 && gradient != 0.0f) {
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

struct HeadResults {
  Weights weights;
  Matrix dropped;  // weights after dropout
};

HeadResults forward_head(const HeadProblem& at, PlainResults& out) {
  const Problem& problem = at.problem;
  const core::Sequence& sequence = at.sequence;
  const int64_t sq = at.num_queries(), sk = at.num_keys();
  HeadResults head{weights_of(at), {}};
  head.dropped = head.weights.p;
  for (size_t i = 0; i < head.dropped.size(); ++i) {
    head.dropped[i] = at.round(head.dropped[i] * head.weights.multiplier[i]);
  }
  const Matrix v = at.keys(problem.v, problem.descale.v);
  scatter(at, problem.q, sequence.q_begin, at.head, problem.v.dim,
          times(at, head.dropped, false, v, sq, problem.v.dim, sk), false, out.o);
  for (int64_t i = 0; i < sq; ++i) {
    out.lse[static_cast<size_t>((sequence.batch * problem.q.heads + at.head) * problem.q.seq +
                                sequence.q_begin + i)] = head.weights.lse[static_cast<size_t>(i)];
  }
  return head;
}

void backward_head(const HeadProblem& at, const HeadResults& head, const View& d_o,
                   const LseView& d_lse, PlainScoreGradients& sums, PlainResults& out) {
  const Problem& problem = at.problem;
  const core::Sequence& sequence = at.sequence;
  const int64_t sq = at.num_queries(), sk = at.num_keys();
  const int64_t d = problem.q.dim, dv = problem.v.dim;
  const Matrix d_out = at.queries(d_o);
  const Matrix d_dropped = times_transposed(at, d_out, at.keys(problem.v, nullptr), sq, sk, dv);
  const Matrix ds = score_gradient(at, head.weights, d_dropped, d_lse, sums);
  scatter(at, problem.q, sequence.q_begin, at.head, d,
          times(at, ds, false, at.keys(problem.k, nullptr), sq, d, sk), false, out.dq);
  scatter(at, problem.k, sequence.k_begin, at.kv_head, d,
          times(at, ds, true, at.queries(problem.q), sk, d, sq), true, out.dk);
  scatter(at, problem.k, sequence.k_begin, at.kv_head, dv,
          times(at, head.dropped, true, d_out, sk, dv, sq), true, out.dv);
}

}  // namespace

PlainResults plain_formula(const Problem& problem, const View& d_o, const LseView& d_lse) {
  const View &q = problem.q, &k = problem.k, &v = problem.v;
  PlainResults out;
  out.o.assign(static_cast<size_t>(q.batch * q.seq * q.heads * v.dim), 0.0f);
  out.lse.assign(static_cast<size_t>(q.batch * q.seq * q.heads), kMinusInfinity);
  out.dq.assign(static_cast<size_t>(q.batch * q.seq * q.heads * q.dim), 0.0f);
  out.dk.assign(static_cast<size_t>(k.batch * k.seq * k.heads * k.dim), 0.0f);
  out.dv.assign(static_cast<size_t>(v.batch * v.seq * v.heads * v.dim), 0.0f);
  PlainScoreGradients sums(problem, out);
  for (int64_t index = 0; index < core::num_sequences(problem); ++index) {
    for (int64_t head = 0; head < q.heads; ++head) {
      const HeadProblem at{problem, core::sequence_at(problem, index), head,
                           core::kv_head_of(problem, head), d_o.dtype};
      const HeadResults results = forward_head(at, out);
      if (has_backward(problem)) {
        backward_head(at, results, d_o, d_lse, sums, out);
      }
    }
  }
  std::vector<std::vector<float>*> sums_to_round{&out.d_bias, &out.d_slopes, &out.d_sink};
  for (std::vector<float>& sum : out.d_tensors) {
    sums_to_round.push_back(&sum);
  }
  for (std::vector<float>* sum : sums_to_round) {
    for (float& value : *sum) {
      value = rounded(value, d_o.dtype);
    }
  }
  return out;
}

}  // namespace regard::testing
