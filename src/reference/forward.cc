#include <cstddef>
#include <vector>

#include "reference/attention.h"
#include "reference/quantize.h"
#include "reference/row.h"

namespace regard::reference {
namespace {

void forward_row(const Problem& problem, const RowPosition& at, const ForwardOutputs& outputs) {
  const core::Sequence& sequence = at.sequence;
  const int64_t kv_head = core::kv_head_of(problem, at.head);
  const int64_t q_seq = sequence.q_begin + at.query;
  const Row row = softmax_row(problem, at);
  std::vector<double> o(static_cast<size_t>(problem.v.dim), 0.0);
  for (const SeenKey& seen : row.keys) {
    const std::vector<double> v =
        load_row(problem.v, sequence.batch, sequence.k_begin + seen.key, kv_head);
    for (size_t d = 0; d < o.size(); ++d) {
      o[d] += seen.rounded_weight * seen.multiplier * v[d];
    }
  }
  store_row(outputs.o, sequence.batch, q_seq, at.head, o);
  if (outputs.lse.data != nullptr) {
    outputs.lse.data[sequence.batch * outputs.lse.stride_batch + at.head * outputs.lse.stride_head +
                     q_seq] = static_cast<float>(row.lse);
  }
}

}  // namespace

void forward(const Problem& problem, const ForwardOutputs& outputs) {
  SequenceOperands operands(problem);
  for (int64_t index = 0; index < core::num_sequences(problem); ++index) {
    const core::Sequence sequence = core::sequence_at(problem, index);
    const Problem& selected = operands.of(sequence);
    for (int64_t head = 0; head < problem.q.heads; ++head) {
      for (int64_t query = 0; query < sequence.q_len; ++query) {
        forward_row(selected, {sequence, head, query}, outputs);
      }
    }
  }
}

}  // namespace regard::reference
