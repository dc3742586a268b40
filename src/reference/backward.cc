#include <cstddef>
#include <optional>
#include <vector>

#include "reference/attention.h"
#include "reference/int8_products.h"
#include "reference/quantize.h"
#include "reference/row.h"
#include "reference/score_gradients.h"

namespace regard::reference {
namespace {

// What all rows of a backward share.
struct Backward {
  const Problem& problem;  // of the sequence at hand: see quantize.h
  const SequenceOperands& quantized;
  const BackwardTensors& tensors;
  ScoreGradients& score_gradients;
};

// Gradients of the keys and values of one sequence and key/value head, summed over its queries and
// query heads before they are rounded once.
struct KeyGradients {
  Rows dk, dv;  // [k_len][D], [k_len][Dv]
};

double d_lse_of(const BackwardTensors& tensors, const RowPosition& at) {
  const LseView& d_lse = tensors.d_lse;
  if (d_lse.data == nullptr) {
    return 0;
  }
  return d_lse.data[at.sequence.batch * d_lse.stride_batch + at.head * d_lse.stride_head +
                    at.sequence.q_begin + at.query];
}

// dQ of a row goes to `dq`; with `int8` what is multiplied is kept there instead.
void backward_row(const Backward& call, Head& head, const RowPosition& at,
                  const std::vector<double>& d_o, KeyGradients& gradients, std::vector<double>& dq,
                  std::optional<Int8Products>& int8) {
  const Problem& problem = call.problem;
  const HeadOperands& operands = head.operands;
  const double scale = scale_of(problem);
  const std::vector<double>& q = operands.q[static_cast<size_t>(at.query)];
  const Row row = softmax_row(head, at);

  std::vector<double> g;  // gradient of each weight
  double mean_g = 0;      // sum_k p_ik g_ik = dO_i . O_i
  for (const SeenKey& seen : row.keys) {
    g.push_back(seen.multiplier * dot(d_o, operands.v[static_cast<size_t>(seen.key)]));
    mean_g += seen.rounded_weight * g.back();
  }
  const double shared = d_lse_of(call.tensors, at) - mean_g;

  for (size_t i = 0; i < row.keys.size(); ++i) {
    const SeenKey& seen = row.keys[i];
    const auto key = static_cast<size_t>(seen.key);
    const double dx = seen.weight * (g[i] + shared);
    const double ds = dx * seen.slope;
    call.score_gradients.add_score(head, at, seen, dx);
    if (int8) {
      int8->set(at.query, seen.key, seen.weight * seen.multiplier, ds);
      continue;
    }
    add(dq, scale * ds, operands.k[key]);
    add(gradients.dk[key], scale * ds, q);
    add(gradients.dv[key], seen.weight * seen.multiplier, d_o);
  }
  call.score_gradients.add_sink(at, row.sink_weight * shared);  // its value is 0
}

void backward_head(const Backward& call, const core::Sequence& sequence, int64_t idx,
                   KeyGradients& gradients) {
  const Problem& problem = call.problem;
  Head head(problem, sequence, idx);
  const Rows d_o = load_queries(call.tensors.d_o, sequence, idx);
  Rows dq(d_o.size(), std::vector<double>(static_cast<size_t>(problem.q.dim), 0.0));
  std::optional<Int8Products> int8;
  if (problem.quantization.int8_backward) {
    int8.emplace(sequence.q_len, sequence.k_len);
  }
  for (int64_t query = 0; query < sequence.q_len; ++query) {
    const auto i = static_cast<size_t>(query);
    backward_row(call, head, {sequence, idx, query}, d_o[i], gradients, dq[i], int8);
  }
  if (int8) {
    int8->add_to(head.operands, d_o, scale_of(problem), call.tensors.dq.dim, dq, gradients.dk,
                 gradients.dv);
  }
  for (int64_t query = 0; query < sequence.q_len; ++query) {
    std::vector<double>& row = dq[static_cast<size_t>(query)];
    call.quantized.finish_dq(core::kv_head_of(problem, idx), row);
    store_row(call.tensors.dq, sequence.batch, sequence.q_begin + query, idx, row);
  }
}

void backward_kv_head(const Backward& call, const core::Sequence& sequence, int64_t kv_head) {
  const Problem& problem = call.problem;
  const auto num_keys = static_cast<size_t>(sequence.k_len);
  KeyGradients gradients;
  gradients.dk.assign(num_keys, std::vector<double>(static_cast<size_t>(problem.k.dim), 0.0));
  gradients.dv.assign(num_keys, std::vector<double>(static_cast<size_t>(problem.v.dim), 0.0));
  const int64_t group = problem.q.heads / problem.k.heads;
  for (int64_t idx = kv_head * group; idx < (kv_head + 1) * group; ++idx) {
    backward_head(call, sequence, idx, gradients);
  }
  for (int64_t key = 0; key < sequence.k_len; ++key) {
    const auto i = static_cast<size_t>(key);
    const int64_t k_seq = sequence.k_begin + key;
    store_row(call.tensors.dk, sequence.batch, k_seq, kv_head, gradients.dk[i]);
    store_row(call.tensors.dv, sequence.batch, k_seq, kv_head, gradients.dv[i]);
  }
}

}  // namespace

void backward(const Problem& problem, const BackwardTensors& tensors) {
  for (const View* gradient : {&tensors.dq, &tensors.dk, &tensors.dv}) {
    store_zeros(*gradient);
  }
  ScoreGradients score_gradients(problem, tensors);
  SequenceOperands quantized(problem);
  for (int64_t index = 0; index < core::num_sequences(problem); ++index) {
    const core::Sequence sequence = core::sequence_at(problem, index);
    const Problem& selected = quantized.of(sequence);
    for (int64_t kv_head = 0; kv_head < problem.k.heads; ++kv_head) {
      backward_kv_head({selected, quantized, tensors, score_gradients}, sequence, kv_head);
    }
  }
  score_gradients.write();
}

}  // namespace regard::reference
