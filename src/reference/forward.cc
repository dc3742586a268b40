#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "reference/attention.h"
#include "reference/quantize.h"
#include "reference/row.h"

namespace regard::reference {
namespace {

float& lse_at(const LseView& lse, int64_t batch, int64_t head, int64_t seq) {
  return lse.data[batch * lse.stride_batch + head * lse.stride_head + seq];
}

// What a query keeps that belongs to no document.
void clear_outputs(const Problem& problem, const ForwardOutputs& outputs) {
  store_zeros(outputs.o);
  if (outputs.lse.data == nullptr) {
    return;
  }
  for (int64_t batch = 0; batch < problem.q.batch; ++batch) {
    for (int64_t head = 0; head < problem.q.heads; ++head) {
      std::fill_n(&lse_at(outputs.lse, batch, head, 0), problem.q.seq,
                  -std::numeric_limits<float>::infinity());
    }
  }
}

void forward_row(Head& head, const RowPosition& at, const ForwardOutputs& outputs) {
  const core::Sequence& sequence = at.sequence;
  const int64_t q_seq = sequence.q_begin + at.query;
  const Row row = softmax_row(head, at);
  std::vector<double> o(static_cast<size_t>(head.problem.v.dim), 0.0);
  for (const SeenKey& seen : row.keys) {
    add(o, seen.rounded_weight * seen.multiplier, head.operands.v[static_cast<size_t>(seen.key)]);
  }
  store_row(outputs.o, sequence.batch, q_seq, at.head, o);
  if (outputs.lse.data != nullptr) {
    lse_at(outputs.lse, sequence.batch, at.head, q_seq) = static_cast<float>(row.lse);
  }
}

}  // namespace

void forward(const Problem& problem, const ForwardOutputs& outputs) {
  clear_outputs(problem, outputs);
  SequenceOperands quantized(problem);
  for (int64_t index = 0; index < core::num_sequences(problem); ++index) {
    const core::Sequence sequence = core::sequence_at(problem, index);
    const Problem& selected = quantized.of(sequence);
    for (int64_t idx = 0; idx < problem.q.heads; ++idx) {
      Head head(selected, sequence, idx);
      for (int64_t query = 0; query < sequence.q_len; ++query) {
        forward_row(head, {sequence, idx, query}, outputs);
      }
    }
  }
}

}  // namespace regard::reference
