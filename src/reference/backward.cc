#include <cstddef>
#include <vector>

#include "reference/attention.h"
#include "reference/quantize.h"
#include "reference/row.h"

namespace regard::reference {
namespace {

// The problem of one sequence and what its operands stand for.
struct SequenceProblem {
  const SequenceOperands& operands;
  const Problem& problem;
};

// Gradients of the keys and values of one sequence and key/value head, summed over its queries and
// query heads before they are rounded once.
struct KeyGradients {
  std::vector<std::vector<double>> dk, dv;  // [k_len][D], [k_len][Dv]
};

double d_lse_of(const BackwardTensors& tensors, const RowPosition& at) {
  const LseView& d_lse = tensors.d_lse;
  if (d_lse.data == nullptr) {
    return 0;
  }
  return d_lse.data[at.sequence.batch * d_lse.stride_batch + at.head * d_lse.stride_head +
                    at.sequence.q_begin + at.query];
}

void add(std::vector<double>& sum, double factor, const std::vector<double>& values) {
  for (size_t d = 0; d < sum.size(); ++d) {
    sum[d] += factor * values[d];
  }
}

// d softcap(s) / d s from the capped score.
double softcap_slope(double capped, double softcap) {
  return softcap > 0 ? 1 - (capped / softcap) * (capped / softcap) : 1;
}

void backward_row(const SequenceProblem& call, const RowPosition& at,
                  const BackwardTensors& tensors, KeyGradients& gradients) {
  const Problem& problem = call.problem;
  const core::Sequence& sequence = at.sequence;
  const int64_t kv_head = core::kv_head_of(problem, at.head);
  const int64_t q_seq = sequence.q_begin + at.query;
  const double scale = scale_of(problem);
  const Row row = softmax_row(problem, at);
  const std::vector<double> q = load_row(problem.q, sequence.batch, q_seq, at.head);
  const std::vector<double> d_o = load_row(tensors.d_o, sequence.batch, q_seq, at.head);

  std::vector<double> g;  // gradient of each weight
  double mean_g = 0;      // sum_k p_ik g_ik = dO_i . O_i
  for (const SeenKey& seen : row.keys) {
    const std::vector<double> v =
        load_row(problem.v, sequence.batch, sequence.k_begin + seen.key, kv_head);
    g.push_back(seen.multiplier * dot(d_o, v));
    mean_g += seen.rounded_weight * g.back();
  }

  std::vector<double> dq(static_cast<size_t>(problem.q.dim), 0.0);
  for (size_t i = 0; i < row.keys.size(); ++i) {
    const SeenKey& seen = row.keys[i];
    const auto key = static_cast<size_t>(seen.key);
    const double dx = seen.weight * (g[i] - mean_g + d_lse_of(tensors, at));
    const double ds = dx * softcap_slope(seen.capped, problem.softcap);
    add(dq, scale * ds, load_row(problem.k, sequence.batch, sequence.k_begin + seen.key, kv_head));
    add(gradients.dk[key], scale * ds, q);
    add(gradients.dv[key], seen.weight * seen.multiplier, d_o);
  }
  call.operands.finish_dq(kv_head, dq);
  store_row(tensors.dq, sequence.batch, q_seq, at.head, dq);
}

void backward_kv_head(const SequenceProblem& call, const core::Sequence& sequence, int64_t kv_head,
                      const BackwardTensors& tensors) {
  const Problem& problem = call.problem;
  const auto num_keys = static_cast<size_t>(sequence.k_len);
  KeyGradients gradients;
  gradients.dk.assign(num_keys, std::vector<double>(static_cast<size_t>(problem.k.dim), 0.0));
  gradients.dv.assign(num_keys, std::vector<double>(static_cast<size_t>(problem.v.dim), 0.0));
  const int64_t group = problem.q.heads / problem.k.heads;
  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    for (int64_t query = 0; query < sequence.q_len; ++query) {
      backward_row(call, {sequence, head, query}, tensors, gradients);
    }
  }
  for (int64_t key = 0; key < sequence.k_len; ++key) {
    const auto i = static_cast<size_t>(key);
    const int64_t k_seq = sequence.k_begin + key;
    store_row(tensors.dk, sequence.batch, k_seq, kv_head, gradients.dk[i]);
    store_row(tensors.dv, sequence.batch, k_seq, kv_head, gradients.dv[i]);
  }
}

}  // namespace

void backward(const Problem& problem, const BackwardTensors& tensors) {
  SequenceOperands operands(problem);
  for (int64_t index = 0; index < core::num_sequences(problem); ++index) {
    const core::Sequence sequence = core::sequence_at(problem, index);
    const Problem& selected = operands.of(sequence);
    for (int64_t kv_head = 0; kv_head < problem.k.heads; ++kv_head) {
      backward_kv_head({operands, selected}, sequence, kv_head, tensors);
    }
  }
}

}  // namespace regard::reference
