#include "tests/cpu/int8_slack.h"

#include <algorithm>
#include <cmath>

#include "core/int8_groups.h"
#include "reference/quantize.h"
#include "reference/row.h"

namespace regard::testing {
namespace {

using reference::Rows;

// f32 arithmetic: half the distance of neighbours at 1.
constexpr double kUnit = 0x1p-24;
// Of exp2_of and tanh_of (src/cpu/exp2-inl.h).
constexpr double kExpError = 2.5e-7, kTanhError = 5e-7;

double dot_of_magnitudes(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::abs(a[i] * b[i]);
  return sum;
}

// One kind of value of one head, [q_len][k_len], with error bounds.
struct Values {
  int64_t q_len, k_len;
  std::vector<double> x, error;

  Values(int64_t queries, int64_t keys)
      : q_len(queries),
        k_len(keys),
        x(static_cast<size_t>(queries * keys), 0.0),
        error(x.size(), 0.0) {}
  size_t at(int64_t query, int64_t key) const { return static_cast<size_t>(query * k_len + key); }

  // Turns the errors into slacks.
  void finish() {
    for (int64_t query = 0; query < q_len; query += core::kInt8TileQueries) {
      for (int64_t key = 0; key < k_len; key += core::kKeyBlock) {
        finish_tile(query, std::min(q_len, query + core::kInt8TileQueries), key,
                    std::min(k_len, key + core::kKeyBlock));
      }
    }
  }

 private:
  static double scale_of(double largest) {
    return double{core::scale_of_group(core::bits_of(static_cast<float>(largest)), 127.0f)};
  }

  void finish_tile(int64_t q_begin, int64_t q_end, int64_t k_begin, int64_t k_end) {
    double least = 0, largest = 0, most = 0;
    for (int64_t query = q_begin; query < q_end; ++query) {
      for (size_t i = at(query, k_begin); i < at(query, k_end); ++i) {
        least = std::max(least, std::abs(x[i]) - error[i]);
        largest = std::max(largest, std::abs(x[i]));
        most = std::max(most, std::abs(x[i]) + error[i]);
      }
    }
    const double scale = scale_of(largest), scales[] = {scale_of(least), scale_of(most)};
    for (int64_t query = q_begin; query < q_end; ++query) {
      for (size_t i = at(query, k_begin); i < at(query, k_end); ++i) {
        error[i] = slack_of(x[i], error[i], scale, scales);
      }
    }
  }

  // x / s is least and most at some corner, and so is its rounded value times another scale.
  static double slack_of(double x, double error, double scale, const double (&scales)[2]) {
    const double right = std::nearbyint(x / scale) * scale;
    double steps_lo = INFINITY, steps_hi = -INFINITY, slack = 0;
    for (const double s : scales) {
      // 2^-23: the division's own rounding, at a quotient of up to 127.
      const double wobble = error / s + 127 * 2 * kUnit;
      steps_lo = std::min(steps_lo, std::nearbyint(x / s - wobble));
      steps_hi = std::max(steps_hi, std::nearbyint(x / s + wobble));
    }
    for (const double steps : {steps_lo, steps_hi}) {
      for (const double s : scales) slack = std::max(slack, std::abs(steps * s - right));
    }
    return x == 0 && error == 0 ? 0 : slack;
  }
};

// What one query row contributes, as reference/backward.cc has it, with bounds.
class HeadValues {
 public:
  HeadValues(const Problem& problem, const core::Sequence& sequence, int64_t idx, const View& d_o,
             const LseView& d_lse, const ForwardPair& forward)
      : head(problem, sequence, idx),
        d_o_rows(reference::load_queries(d_o, sequence, idx)),
        weights(sequence.q_len, sequence.k_len),
        gradients(sequence.q_len, sequence.k_len),
        problem_(problem),
        d_lse_(d_lse),
        forward_(forward) {
    for (int64_t query = 0; query < sequence.q_len; ++query) add_row({sequence, idx, query});
    weights.finish();
    gradients.finish();
  }

  reference::Head head;
  Rows d_o_rows;
  Values weights, gradients;

 private:
  size_t lse_index(const reference::RowPosition& at) const {
    return static_cast<size_t>((at.sequence.batch * problem_.q.heads + at.head) * problem_.q.seq +
                               at.sequence.q_begin + at.query);
  }
  size_t o_index(const reference::RowPosition& at) const {
    const int64_t seq = at.sequence.batch * problem_.q.seq + at.sequence.q_begin + at.query;
    return static_cast<size_t>((seq * problem_.q.heads + at.head) * problem_.v.dim);
  }

  // Bound of |delta - dO . O| of the kernel, which has the given O.
  double delta_error(const reference::RowPosition& at, const std::vector<double>& d_o) const {
    double difference = 0, magnitude = 0;
    for (size_t d = 0; d < d_o.size(); ++d) {
      const double o = double{forward_.exact_o[o_index(at) + d]};
      difference += d_o[d] * (double{forward_.got_o[o_index(at) + d]} - o);
      magnitude += std::abs(d_o[d] * o);
    }
    return std::abs(difference) + static_cast<double>(d_o.size() + 2) * kUnit * magnitude;
  }

  double d_lse_of(const reference::RowPosition& at) const {
    return d_lse_.data == nullptr
               ? 0
               : d_lse_.data[at.sequence.batch * d_lse_.stride_batch +
                             at.head * d_lse_.stride_head + at.sequence.q_begin + at.query];
  }

  void add_row(const reference::RowPosition& at) {
    const reference::Row row = reference::softmax_row(head, at);
    const auto i = static_cast<size_t>(at.query);
    const std::vector<double>&q = head.operands.q[i], &d_o = d_o_rows[i];
    const double terms = static_cast<double>(d_o.size() + 2);
    double mean_g = 0;
    for (const reference::SeenKey& seen : row.keys) {
      mean_g += seen.rounded_weight * seen.multiplier *
                reference::dot(d_o, head.operands.v[static_cast<size_t>(seen.key)]);
    }
    const double shared = d_lse_of(at) - mean_g;
    const double of_delta = row.keys.empty() ? 0 : delta_error(at, d_o);
    for (const reference::SeenKey& seen : row.keys) {
      if (seen.weight == 0) continue;  // exactly, in the kernel too: a bias of -inf
      const auto j = static_cast<size_t>(seen.key);
      const double of_score = score_error(at, q, head.operands.k[j], seen, row.lse);
      const double p = seen.weight * seen.multiplier;
      const size_t pair = weights.at(at.query, seen.key);
      weights.x[pair] = p;
      weights.error[pair] = p * (of_score + 2 * kUnit);
      const double g = seen.multiplier * reference::dot(d_o, head.operands.v[j]);
      const double of_g =
          terms * kUnit * seen.multiplier * dot_of_magnitudes(d_o, head.operands.v[j]);
      const double dx = seen.weight * (g + shared);
      const double of_dx =
          std::abs(dx) * of_score +
          seen.weight * (of_g + of_delta + 4 * kUnit * (std::abs(g) + std::abs(shared)));
      gradients.x[pair] = dx * seen.slope;
      gradients.error[pair] = of_dx * seen.slope + std::abs(dx) * slope_error(of_score);
    }
  }

  // Relative bound of exp(score - LSE).
  double score_error(const reference::RowPosition& at, const std::vector<double>& q,
                     const std::vector<double>& k, const reference::SeenKey& seen,
                     double lse) const {
    const double dot = static_cast<double>(q.size() + 2) * kUnit *
                       std::abs(reference::scale_of(problem_)) * dot_of_magnitudes(q, k);
    const double given = std::abs(double{forward_.got_lse[lse_index(at)]} -
                                  double{forward_.exact_lse[lse_index(at)]});
    // LSE and shift are f32 and so is their difference; terms are added to the score one by one.
    const double rounding = 4 * kUnit * (std::abs(lse) + std::abs(seen.score) + std::abs(q.back()));
    const double tanh = problem_.softcap > 0 ? kTanhError * double{problem_.softcap} : 0;
    return dot + given + rounding + tanh + kExpError;
  }

  double slope_error(double of_score) const {
    return problem_.softcap > 0 ? 2 * (of_score / double{problem_.softcap} + kTanhError) : 0;
  }

  const Problem& problem_;
  const LseView& d_lse_;
  const ForwardPair& forward_;
};

// Largest |dO^|: rounding moves dO by up to half a step.
double largest_step(const Rows& d_o) {
  double largest = 0;
  for (const std::vector<double>& row : d_o) {
    for (const double x : row) largest = std::max(largest, std::abs(x));
  }
  return 0.51 * largest / 127;
}

void add_scaled(std::vector<double>& sums, int64_t offset, double factor,
                const std::vector<double>& row, double more, int64_t dim) {
  for (int64_t d = 0; d < dim; ++d) {
    sums[static_cast<size_t>(offset + d)] +=
        factor * (std::abs(row[static_cast<size_t>(d)]) + more);
  }
}

}  // namespace

Int8Slack int8_slack(const Problem& problem, const View& d_o, const LseView& d_lse,
                     const ForwardPair& forward) {
  const auto zeros = [](const View& like, int64_t dim) {
    return std::vector<double>(static_cast<size_t>(like.batch * like.seq * like.heads * dim), 0.0);
  };
  const auto offset = [](const View& view, int64_t batch, int64_t seq, int64_t head) {
    return ((batch * view.seq + seq) * view.heads + head) * view.dim;
  };
  Int8Slack slack{zeros(problem.q, problem.q.dim), zeros(problem.k, problem.k.dim),
                  zeros(problem.v, problem.v.dim)};
  const double scale = std::abs(reference::scale_of(problem));
  reference::SequenceOperands quantized(problem);
  for (int64_t index = 0; index < core::num_sequences(problem); ++index) {
    const core::Sequence sequence = core::sequence_at(problem, index);
    const Problem& selected = quantized.of(sequence);
    for (int64_t idx = 0; idx < problem.q.heads; ++idx) {
      const HeadValues values(selected, sequence, idx, d_o, d_lse, forward);
      const double d_o_step = largest_step(values.d_o_rows);
      const int64_t kv_head = core::kv_head_of(problem, idx);
      for (int64_t query = 0; query < sequence.q_len; ++query) {
        const auto i = static_cast<size_t>(query);
        const int64_t q_at = offset(problem.q, sequence.batch, sequence.q_begin + query, idx);
        for (int64_t key = 0; key < sequence.k_len; ++key) {
          const size_t pair = values.weights.at(query, key);
          const int64_t seq = sequence.k_begin + key;
          add_scaled(slack.dv, offset(problem.v, sequence.batch, seq, kv_head),
                     values.weights.error[pair], values.d_o_rows[i], d_o_step, problem.v.dim);
          add_scaled(slack.dk, offset(problem.k, sequence.batch, seq, kv_head),
                     scale * values.gradients.error[pair], values.head.operands.q[i], 0,
                     problem.q.dim);
          add_scaled(slack.dq, q_at, scale * values.gradients.error[pair],
                     values.head.operands.k[static_cast<size_t>(key)], 0, problem.q.dim);
        }
      }
    }
  }
  return slack;
}

}  // namespace regard::testing
