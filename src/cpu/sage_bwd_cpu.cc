#include "cpu/sage_bwd_cpu.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/dtype.h"
#include "core/int8_groups.h"
#include "cpu/attn_bwd_cpu.h"
#include "cpu/sage_operands.h"
#include "cpu/scratch.h"
#include "cpu/task_queue.h"

namespace regard::cpu {
namespace {

// Whether rows of dS have a sum of their own, which then is one more channel.
bool has_row_sums(const Problem& problem, const BackwardTensors& tensors) {
  return problem.quantization.smooth_k &&
         (needs_shifted_scores(problem) || tensors.d_lse.data != nullptr);
}

size_t elements_of(const View& like, int64_t dim) {
  return static_cast<size_t>(like.batch * like.seq * like.heads * dim);
}

// The exact problem that stands for a quantised one, with its gradients where they differ in shape.
class ExpandedCall {
 public:
  ExpandedCall(const Problem& problem, const BackwardTensors& tensors, int num_threads)
      : given_(problem),
        given_tensors_(tensors),
        num_threads_(num_threads),
        operands_(problem, num_threads),
        has_row_sums_(has_row_sums(problem, tensors)),
        dim_(problem.q.dim + (has_row_sums_ ? 1 : 0)),
        memory_(elements_of(problem.q, dim_) + elements_of(problem.k, dim_) +
                elements_of(problem.v, problem.v.dim)),
        lse_(static_cast<size_t>(problem.q.batch * problem.q.heads * problem.q.seq)),
        gradients_(has_row_sums_ ? elements_of(problem.q, dim_) + elements_of(problem.k, dim_) : 0),
        d_o_(problem.quantization.int8_backward ? elements_of(problem.q, problem.v.dim) : 0) {
    float* memory = memory_.data();
    problem_ = given_;
    problem_.q = core::contiguous_view(given_.q, DType::f32, dim_, memory);
    problem_.k =
        core::contiguous_view(given_.k, DType::f32, dim_, memory + elements_of(given_.q, dim_));
    problem_.v =
        core::contiguous_view(given_.v, DType::f32, given_.v.dim,
                              memory + elements_of(given_.q, dim_) + elements_of(given_.k, dim_));
    problem_.quantization = {};
    tensors_ = tensors;
    tensors_.lse = {lse_.data(), given_.q.heads * given_.q.seq, given_.q.seq};
    if (has_row_sums_) {
      tensors_.dq = core::contiguous_view(given_.q, DType::f32, dim_, gradients_.data());
      tensors_.dk = core::contiguous_view(given_.k, DType::f32, dim_,
                                          gradients_.data() + elements_of(given_.q, dim_));
    }
    if (given_.quantization.int8_backward) {
      int8_ = {core::contiguous_view(given_.q, DType::f32, given_.v.dim, d_o_.data()),
               has_row_sums_};
    }
  }

  void run() {
    for_units([this](size_t unit) {
      expand_keys(unit);
      expand_queries(unit);
      if (int8_) {
        round_d_o(unit);
      }
    });
    attn_bwd_cpu({&problem_, &tensors_, num_threads_, int8_ ? &*int8_ : nullptr});
    if (has_row_sums_) {
      for_units([this](size_t unit) {
        finish_dk(unit);
        finish_dq(unit);
      });
    }
  }

 private:
  template <class Visit>
  void for_units(const Visit& visit) {
    run_tasks(static_cast<int64_t>(operands_.units.size()), num_threads_,
              [&](int64_t index, int) { visit(static_cast<size_t>(index)); });
  }

  void expand_keys(size_t index) const {
    const Unit& unit = operands_.units[index];
    const SageUnit& from = operands_.quantized[index];
    const Quantization& quantization = given_.quantization;
    for (int64_t key = 0; key < unit.sequence.k_len; ++key) {
      const int64_t seq = unit.sequence.k_begin + key;
      const int8_t* k = from.keys + static_cast<size_t>(key) * padded_int8(given_.k.dim);
      const float scale = from.key_scale(quantization.groups, key);
      float* to = core::f32_row(problem_.k, unit.sequence.batch, seq, unit.kv_head);
      expand_row(k, scale, 1.0f, to);
      const int64_t v_row = core::row_offset(given_.v, unit.sequence.batch, seq, unit.kv_head);
      float* v = core::f32_row(problem_.v, unit.sequence.batch, seq, unit.kv_head);
      for (int64_t d = 0; d < given_.v.dim; ++d) {
        v[d] = core::rounded_value(quantization.values,
                                   core::load(given_.v.data, given_.v.dtype, v_row + d),
                                   from.value_scales[d]);
      }
    }
  }

  // q^, and the LSE of the scores that the copies give.
  void expand_queries(size_t index) const {
    const Unit& unit = operands_.units[index];
    const SageUnit& from = operands_.quantized[index];
    for (int64_t row = 0; row < unit.num_rows; ++row) {
      const int64_t seq = unit.sequence.q_begin + unit.query_of(row);
      const int64_t head = unit.head_of(row);
      const int8_t* q = from.queries + static_cast<size_t>(row) * padded_int8(given_.q.dim);
      expand_row(q, from.query_scale(given_.quantization.groups, unit, row), from.shifts[row],
                 core::f32_row(problem_.q, unit.sequence.batch, seq, head));
      const LseView& lse = given_tensors_.lse;
      const float value =
          lse.data[unit.sequence.batch * lse.stride_batch + head * lse.stride_head + seq];
      const bool keeps_lse = has_row_sums_ || std::isinf(value);
      tensors_.lse.data[unit.sequence.batch * tensors_.lse.stride_batch +
                        head * tensors_.lse.stride_head + seq] =
          keeps_lse ? value : value - given_.scale * from.shifts[row];
    }
  }

  // dO through int8, one scale for kInt8TileQueries queries of a head.
  void round_d_o(size_t index) const {
    const Unit& unit = operands_.units[index];
    for (int64_t head = unit.kv_head * unit.group; head < (unit.kv_head + 1) * unit.group; ++head) {
      for (int64_t begin = 0; begin < unit.sequence.q_len; begin += core::kInt8TileQueries) {
        round_d_o_block(unit.sequence, head, begin,
                        std::min(unit.sequence.q_len, begin + core::kInt8TileQueries));
      }
    }
  }

  void round_d_o_block(const core::Sequence& sequence, int64_t head, int64_t begin,
                       int64_t end) const {
    const View& d_o = given_tensors_.d_o;
    uint32_t largest = 0;
    for (int64_t query = begin; query < end; ++query) {
      const int64_t seq = sequence.q_begin + query;
      const int64_t from = core::row_offset(d_o, sequence.batch, seq, head);
      float* row = core::f32_row(int8_->d_o, sequence.batch, seq, head);
      for (int64_t d = 0; d < d_o.dim; ++d) {
        row[d] = core::load(d_o.data, d_o.dtype, from + d);
      }
      largest = core::max_magnitude_bits(row, d_o.dim, largest);
    }
    const float scale = core::scale_of_group(largest, core::kInt8Steps);
    for (int64_t query = begin; query < end; ++query) {
      float* row = core::f32_row(int8_->d_o, sequence.batch, sequence.q_begin + query, head);
      for (int64_t d = 0; d < d_o.dim; ++d) {
        row[d] = core::int8_of(row[d], scale) * scale;
      }
    }
  }

  void expand_row(const int8_t* from, float scale, float last, float* to) const {
    for (int64_t d = 0; d < given_.q.dim; ++d) {
      to[d] = static_cast<float>(from[d]) * scale;
    }
    if (has_row_sums_) {
      to[given_.q.dim] = last;
    }
  }

  void finish_dk(size_t index) const {
    const Unit& unit = operands_.units[index];
    const View& dk = given_tensors_.dk;
    for (int64_t key = 0; key < unit.sequence.k_len; ++key) {
      const int64_t seq = unit.sequence.k_begin + key;
      const float* from = core::f32_row(tensors_.dk, unit.sequence.batch, seq, unit.kv_head);
      const int64_t to = core::row_offset(dk, unit.sequence.batch, seq, unit.kv_head);
      for (int64_t d = 0; d < dk.dim; ++d) {
        core::store(dk.data, dk.dtype, to + d, from[d]);
      }
    }
  }

  void finish_dq(size_t index) const {
    const Unit& unit = operands_.units[index];
    const float* mean = operands_.quantized[index].mean;
    const View& dq = given_tensors_.dq;
    for (int64_t row = 0; row < unit.num_rows; ++row) {
      const int64_t seq = unit.sequence.q_begin + unit.query_of(row);
      const float* from = core::f32_row(tensors_.dq, unit.sequence.batch, seq, unit.head_of(row));
      const int64_t to = core::row_offset(dq, unit.sequence.batch, seq, unit.head_of(row));
      for (int64_t d = 0; d < dq.dim; ++d) {
        core::store(dq.data, dq.dtype, to + d, from[d] + from[dq.dim] * mean[d]);
      }
    }
  }

  const Problem& given_;
  const BackwardTensors& given_tensors_;
  int num_threads_;
  SageOperands operands_;
  bool has_row_sums_;
  int64_t dim_;
  Scratch memory_, lse_, gradients_, d_o_;
  Problem problem_;
  BackwardTensors tensors_;
  std::optional<Int8Backward> int8_;
};

}  // namespace

void sage_bwd_cpu(const Problem& problem, const BackwardTensors& tensors, int num_threads) {
  ExpandedCall(problem, tensors, num_threads).run();
}

}  // namespace regard::cpu
