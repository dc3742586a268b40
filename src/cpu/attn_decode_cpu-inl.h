// attn_decode_cpu: exact attention forward for few query rows against many keys, packed nowhere.
// Math     O = softmax(scale * Q K^T + terms, masked; sink) V; LSE = natural log-sum-exp per row.
// Shapes   Q [B,Sq,Hq,D]  K [B,Sk,Hkv,D]  V [B,Sk,Hkv,Dv], or K and V in pages; O like Q with Dv
//          LSE [B,Hq,Sq] f32; any strides, last = 1.
// Tiling   task = (up to 8 merged rows of a key/value head, part of their keys); loops blocks of 64
//          keys. Scores are [row][key], key = 4 x 4 accumulators (2 x 4 on AVX2), summed over lanes
//          four at a time; P V holds 4 rows x 4 vectors of O in registers along the block.
// Memory   K and V are read once, where they lie, by rows. Rows that are not whole vectors, f8 and
//          16-bit rows that two register tiles read are widened to f32 first, a block at a time
//          (first-level cache). Parts keep (max, sum, O) per row: 256 keys cost (Dv + 2) floats.
// Merging  O = sum_i 2^(m_i - m) o_i / sum_i 2^(m_i - m) l_i over the parts in their order: exact,
//          and the same bits at every thread count.
// Numerics f32 accumulation; log2(e) is folded into Q; a masked weight never touches its value, so
//          NaN there does not spread; a fully masked row gives O = 0, LSE = -inf (the sink's
//          logit).
// Limits   see why_unsupported_decode().
// Source   Dao et al. 2023, "Flash-Decoding"; own schedule.
#if defined(REGARD_CPU_ATTN_DECODE_CPU_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_ATTN_DECODE_CPU_INL_H_
#undef REGARD_CPU_ATTN_DECODE_CPU_INL_H_
#else
#define REGARD_CPU_ATTN_DECODE_CPU_INL_H_
#endif

#include <cmath>

#include "core/dtype.h"
#include "cpu/attn_decode_cpu.h"
#include "cpu/decode_rows-inl.h"
#include "cpu/decode_scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// What a part leaves behind, per row: max (in log2 units), sum, and O [kDecodeRows][padded(Dv)].
struct DecodePartial {
  float *max, *sum, *o;

  static size_t floats(const Problem& problem) {
    return 2 * kDecodeRows + kDecodeRows * padded(static_cast<size_t>(problem.v.dim));
  }
  explicit DecodePartial(float* memory)
      : max(memory), sum(memory + kDecodeRows), o(memory + 2 * kDecodeRows) {}
};

// One thread's buffers, cut from one piece of scratch.
struct DecodeBuffers {
  float *q, *scores, *staged;

  static size_t floats(const Problem& problem) {
    return kDecodeRows * padded(static_cast<size_t>(problem.q.dim)) + kDecodeRows * kDecodeKeys +
           staged_floats(problem.k) + staged_floats(problem.v);
  }
  DecodeBuffers(const Problem& problem, float* scratch)
      : q(scratch),
        scores(q + kDecodeRows * padded(static_cast<size_t>(problem.q.dim))),
        staged(scores + kDecodeRows * kDecodeKeys) {}
};

// Rows of Q times everything that multiplies scores, zeros up to whole vectors.
inline void load_queries(const Problem& problem, const Unit& unit, const RowGroup& group,
                         float* to) {
  const size_t stride = padded(static_cast<size_t>(problem.q.dim));
  const float factor = query_factor(problem) * descale_of(problem, problem.descale.q, unit) *
                       descale_of(problem, problem.descale.k, unit);
  for (int64_t row = 0; row < group.num_rows; ++row) {
    widen_row(problem.q, query_row_offset(problem.q, unit, group.first_row + row), factor,
              to + static_cast<size_t>(row) * stride);
  }
}

// Softmax of one row over a block: weights in place, running max and sum, O of earlier blocks
// rescaled.
inline void softmax_of_row(float* HWY_RESTRICT scores, float& max, float& sum,
                           float* HWY_RESTRICT o, size_t o_size) {
  const F32 d;
  Vec largest = hn::Load(d, scores);
  for (int64_t key = kLanes; key < kDecodeKeys; key += kLanes) {
    largest = hn::Max(largest, hn::Load(d, scores + key));
  }
  const float new_max = std::max(max, hn::GetLane(hn::MaxOfLanes(d, largest)));
  // A row that has seen nothing yet subtracts 0, else -inf - -inf would be NaN.
  const float base = new_max == kMasked ? 0.0f : new_max;
  const Vec base_lanes = hn::Set(d, base);
  Vec total = hn::Zero(d);
  for (int64_t key = 0; key < kDecodeKeys; key += kLanes) {
    const Vec p = exp2_of(hn::Sub(hn::Load(d, scores + key), base_lanes));
    total = hn::Add(total, p);
    hn::Store(p, d, scores + key);
  }
  if (new_max != max) {
    const float factor = max == kMasked ? 0.0f : std::exp2(max - base);
    sum *= factor;
    for (size_t i = 0; i < o_size; i += kLanes) {
      hn::Store(hn::Mul(hn::Load(d, o + i), hn::Set(d, factor)), d, o + i);
    }
  }
  max = new_max;
  sum += hn::GetLane(hn::SumOfLanes(d, total));
}

// One part: blocks of keys one after the other.
inline void decode_part(const Problem& problem, const Unit& unit, const RowGroup& group,
                        const core::KeyInterval& keys, const DecodeBuffers& buffers,
                        const DecodePartial& partial) {
  const size_t value_stride = padded(static_cast<size_t>(problem.v.dim));
  std::fill_n(partial.max, kDecodeRows, kMasked);
  std::fill_n(partial.sum, kDecodeRows, 0.0f);
  std::fill_n(partial.o, kDecodeRows * value_stride, 0.0f);
  if (keys.is_empty()) {
    return;
  }
  DecodeRow rows[kDecodeRows];
  for (int64_t row = 0; row < group.num_rows; ++row) {
    rows[row] = decode_row(problem, unit, group.first_row + row);
  }
  load_queries(problem, unit, group, buffers.q);
  const auto num_rows = static_cast<int>(group.num_rows);
  float* staged_values = buffers.staged + staged_floats(problem.k);
  for (int64_t lo = keys.lo; lo < keys.hi; lo += kDecodeKeys) {
    const core::KeyInterval block{lo, std::min(lo + kDecodeKeys, keys.hi)};
    const KeyRows k = key_rows(problem, unit, block, problem.k, num_rows, buffers.staged);
    multiply_keys(k, buffers.q, num_rows, buffers.scores);
    bool has_masked = block.hi - block.lo < kDecodeKeys;
    for (int row = 0; row < num_rows; ++row) {
      float* scores = buffers.scores + row * kDecodeKeys;
      has_masked |= finish_scores(problem, unit, rows[row], block, scores);
      softmax_of_row(scores, partial.max[row], partial.sum[row],
                     partial.o + static_cast<size_t>(row) * value_stride, value_stride);
      if (has_dropout(problem)) {
        drop_weights_of_row(problem, unit, rows[row], block, scores);
      }
    }
    const KeyRows v = key_rows(problem, unit, block, problem.v, num_rows, staged_values);
    add_values(v, buffers.scores, num_rows, has_masked, partial.o);
  }
}

// O and LSE of one row from the parts of its group, in their order.
inline void merge_row(const ForwardCall& call, const Unit& unit, const RowGroup& group, int64_t row,
                      float* partials, size_t partial_floats) {
  const Problem& problem = *call.problem;
  const ForwardOutputs& outputs = *call.outputs;
  const size_t value_stride = padded(static_cast<size_t>(problem.v.dim));
  const int64_t head = unit.head_of(group.first_row + row);
  const float sink = problem.sink.logits == nullptr ? kMasked : problem.sink.logits[head] * kLog2E;
  const auto partial_at = [&](size_t part) {
    return DecodePartial(partials + (group.first_part + part) * partial_floats);
  };
  float max = sink;
  for (size_t part = 0; part < group.num_parts; ++part) {
    const float of_part = partial_at(part).max[row];
    max = of_part <= max ? max : of_part;  // NaN is kept
  }
  const float base = max == kMasked ? 0.0f : max;
  float sum = std::exp2(sink - base);
  float* o = partial_at(0).o + static_cast<size_t>(row) * value_stride;
  for (size_t part = 0; part < group.num_parts; ++part) {
    const DecodePartial partial = partial_at(part);
    const float weight = std::exp2(partial.max[row] - base);
    sum += partial.sum[row] * weight;
    const float* from = partial.o + static_cast<size_t>(row) * value_stride;
    for (size_t i = 0; i < value_stride; ++i) {
      o[i] = part == 0 ? from[i] * weight : o[i] + from[i] * weight;
    }
  }
  const bool is_masked = sum == 0.0f;
  if (is_masked) {
    std::fill_n(o, value_stride, 0.0f);
  }
  const float factor =
      (is_masked ? 1.0f : 1.0f / sum) * descale_of(problem, problem.descale.v, unit);
  store_row(outputs.o, query_row_offset(outputs.o, unit, group.first_row + row), factor, o);
  if (outputs.lse.data != nullptr) {
    outputs.lse
        .data[unit.sequence.batch * outputs.lse.stride_batch + head * outputs.lse.stride_head +
              unit.sequence.q_begin + unit.query_of(group.first_row + row)] =
        is_masked ? kMasked : kLn2 * (max + std::log2(sum));
  }
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
