#include "modules/flash_sequences.h"

#include <cstddef>
#include <vector>

#include "core/dtype.h"
#include "core/sequences.h"
#include "modules/checks.h"
#include "regard/attention.h"
#include "regard/modules.h"

namespace regard::flash {
namespace {

View rows_of(const View& view, int64_t begin, int64_t length) {
  View rows = view;
  rows.seq = length;
  if (rows.data != nullptr) {
    rows.data =
        static_cast<char*>(rows.data) + begin * view.stride_seq * core::bytes_of(view.dtype);
  }
  return rows;
}

LseView rows_of(const LseView& lse, int64_t begin) {
  LseView rows = lse;
  rows.data = lse.data == nullptr ? nullptr : lse.data + begin;
  return rows;
}

// The rows of one sequence as a packed row in which all other sequences are empty, so that it keeps
// its number: dropout and descale count by it.
class SequenceCall {
 public:
  explicit SequenceCall(const Problem& problem)
      : whole_(problem),
        starts_(static_cast<size_t>(problem.documents.count), 0),
        q_lengths_(starts_),
        k_lengths_(starts_) {
    problem_ = problem;
    problem_.alibi.stride_batch = 0;
    problem_.documents.q_offsets = starts_.data();
    problem_.documents.q_lengths = q_lengths_.data();
    if (!core::is_paged(problem)) {
      problem_.documents.k_offsets = starts_.data();
      problem_.documents.k_lengths = k_lengths_.data();
    }
  }
  SequenceCall(const SequenceCall&) = delete;
  SequenceCall& operator=(const SequenceCall&) = delete;

  int64_t count() const { return whole_.documents.count; }
  // Every sequence is empty: O = 0, LSE = -inf and zero gradients everywhere.
  const Problem& problem() const { return problem_; }

  void select(int64_t index) {
    q_lengths_[static_cast<size_t>(selected_.index)] = 0;
    k_lengths_[static_cast<size_t>(selected_.index)] = 0;
    selected_ = core::sequence_at(whole_, index);
    q_lengths_[static_cast<size_t>(index)] = static_cast<int32_t>(selected_.q_len);
    k_lengths_[static_cast<size_t>(index)] = static_cast<int32_t>(selected_.k_len);
    problem_.q = queries(whole_.q);
    if (!core::is_paged(whole_)) {
      problem_.k = keys(whole_.k);
      problem_.v = keys(whole_.v);
    }
    problem_.alibi.slopes = whole_.alibi.slopes + index * whole_.alibi.stride_batch;
  }

  View queries(const View& view) const { return rows_of(view, selected_.q_begin, selected_.q_len); }
  LseView queries(const LseView& lse) const { return rows_of(lse, selected_.q_begin); }
  View keys(const View& view) const { return rows_of(view, selected_.k_begin, selected_.k_len); }

 private:
  const Problem& whole_;
  Problem problem_;
  std::vector<int32_t> starts_, q_lengths_, k_lengths_;
  core::Sequence selected_;
};

// d_sink is of all sequences: the sum of what each call writes.
class SinkSum {
 public:
  SinkSum(float* sum, int64_t heads) : sum_(sum), part_(static_cast<size_t>(heads)) {}
  float* part() { return sum_ == nullptr ? nullptr : part_.data(); }
  void add() {
    for (size_t head = 0; sum_ != nullptr && head < part_.size(); ++head) {
      sum_[head] += part_[head];
    }
  }

 private:
  float* sum_;
  std::vector<float> part_;
};

void require_host(const Problem& problem) {
  checks::require_host_memory("ALiBi slopes for each packed sequence", problem.q.data,
                              "give slopes [Hq]");
}

}  // namespace

bool has_slopes_of_sequences(const Problem& problem) {
  return core::is_packed(problem) && problem.alibi.slopes != nullptr &&
         problem.alibi.stride_batch != 0;
}

void forward_by_sequence(const Problem& problem, const ForwardOutputs& outputs) {
  require_host(problem);
  (void)why_unsupported(Backend::cpu_tiled, problem);  // throws for one that contradicts itself
  SequenceCall call(problem);
  attention_forward(call.problem(), outputs, backend_of(Module::flash_attention_2));
  for (int64_t i = 0; i < call.count(); ++i) {
    call.select(i);
    attention_forward(call.problem(), {call.queries(outputs.o), call.queries(outputs.lse)},
                      backend_of(Module::flash_attention_2, call.problem()));
  }
}

void backward_by_sequence(const Problem& problem, const BackwardTensors& tensors) {
  require_host(problem);
  (void)why_unsupported(Backend::cpu_tiled, problem);
  const Backend backend = backend_of(Module::flash_attention_2);
  SequenceCall call(problem);
  attention_backward(call.problem(), tensors, backend);
  SinkSum d_sink(tensors.d_sink, problem.q.heads);
  for (int64_t i = 0; i < call.count(); ++i) {
    call.select(i);
    BackwardTensors part = tensors;
    part.o = call.queries(tensors.o);
    part.lse = call.queries(tensors.lse);
    part.d_o = call.queries(tensors.d_o);
    part.d_lse = call.queries(tensors.d_lse);
    part.dq = call.queries(tensors.dq);
    part.dk = call.keys(tensors.dk);
    part.dv = call.keys(tensors.dv);
    part.d_slopes = tensors.d_slopes == nullptr ? nullptr : tensors.d_slopes + i * problem.q.heads;
    part.d_sink = d_sink.part();
    attention_backward(call.problem(), part, backend);
    d_sink.add();
  }
}

}  // namespace regard::flash
