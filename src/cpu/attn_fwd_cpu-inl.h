// attn_fwd_cpu: exact attention forward for CPUs, tiled over rows and keys, SIMD over rows.
// Math     O = softmax(scale * Q K^T + terms, masked; sink) V; LSE = natural log-sum-exp per row.
// Shapes   Q [B,Sq,Hq,D]  K [B,Sk,Hkv,D]  V [B,Sk,Hkv,Dv], or K and V in pages; O like Q with Dv
//          LSE [B,Hq,Sq] f32; any strides, last = 1.
// Tiling   task = (sequence, key/value head, 96 merged query rows), longest first; loops blocks of
//          192 keys. Register tile 12 x 32 (AVX-512) or 6 x 16 (AVX2), see register_tile-inl.h.
//          Scores are computed transposed, [key, row]: lanes are rows, so max, sum and limits are
//          vertical, and P is a ready A operand (its columns are contiguous).
// Memory   K and V are packed to f32 once per key/value head (PanelA and strips), shared by all
//          rows. Per thread: Q strips, one 192 x 96 score tile (72 KiB), O accumulator [96, Dv].
// Skipping blocks no row sees are never visited; full blocks run without limit code; on partial
//          blocks each strip of rows computes only the keys it sees, and each register tile of P V
//          only the depth it needs.
// Numerics f32 accumulation; log2(e) is folded into Q; a masked score is -inf; O is rescaled inside
//          the P V tile and divided once at the end; a fully masked row gives O = 0, LSE = -inf
//          (the sink's logit).
// Limits   see why_unsupported_tiled().
// Source   Dao 2023 (arXiv 2307.08691) Alg. 1; own packing.
#if defined(REGARD_CPU_ATTN_FWD_CPU_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_ATTN_FWD_CPU_INL_H_
#undef REGARD_CPU_ATTN_FWD_CPU_INL_H_
#else
#define REGARD_CPU_ATTN_FWD_CPU_INL_H_
#endif

#include <cmath>

#include "cpu/attn_fwd_cpu.h"
#include "cpu/pack-inl.h"
#include "cpu/scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// Packed operands of one unit. Rows of V with an infinity or NaN are zero in the strips;
// has_special_values [num_blocks] says which key blocks have any.
struct PackedUnit {
  float* key_panels;
  float* value_strips;
  uint8_t* has_special_values;
};

// Floats of one unit's packed K (PanelA) and V (strips).
inline size_t packed_keys_floats(const Unit& unit, size_t head_dim) {
  return whole_lines(whole_tile_rows(static_cast<size_t>(unit.sequence.k_len)) * head_dim);
}
inline size_t packed_values_floats(const Unit& unit, size_t value_dim) {
  return whole_lines(static_cast<size_t>(unit.sequence.k_len) * padded(value_dim));
}

// One thread's buffers, cut from one piece of scratch.
struct ForwardBuffers {
  float *rows, *q_strips, *scores, *keep, *o, *max, *sum, *correction;
  ProgramTiles programs = {};

  static size_t floats(const Problem& problem) {
    const auto head_dim = static_cast<size_t>(problem.q.dim);
    const auto value_dim = static_cast<size_t>(problem.v.dim);
    const size_t tile = kBlockQ * kBlockK;
    return whole_lines(kPackRows * std::max(head_dim, value_dim)) +
           whole_lines(kBlockQ * head_dim) + tile * (has_dropout(problem) ? 2 : 1) +
           kBlockQ * padded(value_dim) + 3 * kBlockQ + program_floats(problem);
  }

  ForwardBuffers(const Problem& problem, float* scratch) {
    const auto head_dim = static_cast<size_t>(problem.q.dim);
    const auto value_dim = static_cast<size_t>(problem.v.dim);
    rows = scratch;
    q_strips = rows + whole_lines(kPackRows * std::max(head_dim, value_dim));
    scores = q_strips + whole_lines(kBlockQ * head_dim);
    keep = scores + kBlockQ * kBlockK;
    o = has_dropout(problem) ? keep + kBlockQ * kBlockK : keep;
    max = o + kBlockQ * padded(value_dim);
    sum = max + kBlockQ;
    correction = sum + kBlockQ;
    programs.memory = correction + kBlockQ;
  }
};

// lines 9-10 for one vector of rows over keys [0, num_keys): m_new, P = exp2(S - m_new), l_new, and
// what O and l of earlier blocks are multiplied by.
HWY_INLINE void softmax_lanes(float* HWY_RESTRICT scores, int64_t num_keys, float* max, float* sum,
                              float* correction) {
  const F32 d;
  const Vec old_max = hn::Load(d, max);
  Vec max0 = old_max;
  Vec max1 = old_max;
  int64_t key = 0;
  for (; key + 2 <= num_keys; key += 2) {  // two chains: a max has a latency of several cycles
    max0 = hn::Max(max0, hn::Load(d, scores + key * kBlockQ));
    max1 = hn::Max(max1, hn::Load(d, scores + (key + 1) * kBlockQ));
  }
  if (key < num_keys) {
    max0 = hn::Max(max0, hn::Load(d, scores + key * kBlockQ));
  }
  const Vec new_max = hn::Max(max0, max1);
  // A row that has seen nothing yet subtracts 0, else -inf - -inf would be NaN.
  const Vec base = hn::IfThenZeroElse(hn::Eq(new_max, hn::Set(d, kMasked)), new_max);
  const Vec factor = exp2_of(hn::Sub(old_max, base));
  Vec total = hn::Mul(hn::Load(d, sum), factor);
  for (key = 0; key < num_keys; ++key) {
    const Vec p = exp2_of(hn::Sub(hn::Load(d, scores + key * kBlockQ), base));
    total = hn::Add(total, p);
    hn::Store(p, d, scores + key * kBlockQ);
  }
  hn::Store(new_max, d, max);
  hn::Store(total, d, sum);
  hn::Store(factor, d, correction);
}

inline void drop_weights(const ScoreStrip& strip, float* scores, float* keep) {
  const F32 d;
  fill_dropout(strip, keep);
  for (int64_t key = strip.key_lo; key < strip.key_hi; ++key) {
    for (int64_t lane = 0; lane < strip.num_lanes; lane += kLanes) {
      float* at = strip.at(scores, key, strip.lane_begin + lane);
      const Vec kept = hn::Load(d, strip.at(keep, key, strip.lane_begin + lane));
      hn::Store(hn::Mul(hn::Load(d, at), kept), d, at);
    }
  }
}

// Scores and softmax of every strip of the tile over one key block (lines 8-10). multiply(strip,
// index, vectors) writes the strip's scores; round(strip) may change its weights, whose sum has
// been taken.
template <class Multiply, class Round>
void softmax_strips(const Problem& problem, const Unit& unit, const RowTile& tile,
                    const KeyBlock& block, const ForwardBuffers& buffers, const Multiply& multiply,
                    const Round& round) {
  const auto num_rows = static_cast<size_t>(tile.num_rows);
  for (size_t s = 0; s < num_strips(num_rows); ++s) {
    const auto lane_begin = static_cast<int64_t>(s * kStripLanes);
    const int vectors = strip_vectors(num_rows, s);
    const auto num_lanes = static_cast<int64_t>(vectors * kLanes);
    const core::KeyInterval keys =
        block.is_full ? core::KeyInterval{block.lo, block.hi}
                      : keys_of_rows(tile, block, lane_begin, lane_begin + num_lanes);
    const ScoreStrip strip{&problem, &unit,      &tile,     block.base,  keys.lo,
                           keys.hi,  lane_begin, num_lanes, block.cover, buffers.programs};
    multiply(strip, s, vectors);
    apply_terms(strip, block.is_full, buffers.scores, nullptr);
    for (int64_t lane = lane_begin; lane < lane_begin + num_lanes; lane += kLanes) {
      softmax_lanes(strip.at(buffers.scores, keys.lo, lane), keys.hi - keys.lo, buffers.max + lane,
                    buffers.sum + lane, buffers.correction + lane);
    }
    round(strip);
    if (has_dropout(problem)) {
      drop_weights(strip, buffers.scores, buffers.keep);
    }
    if (!block.is_full) {
      clear_keys(strip, block.lo, keys.lo, buffers.scores);
      clear_keys(strip, keys.hi, block.hi, buffers.scores);
    }
  }
}

// The same with exact scores.
inline void score_block(const Problem& problem, const Unit& unit, const RowTile& tile,
                        const KeyBlock& block, const float* key_panels,
                        const ForwardBuffers& buffers) {
  const auto head_dim = static_cast<size_t>(problem.q.dim);
  softmax_strips(
      problem, unit, tile, block, buffers,
      [&](const ScoreStrip& strip, size_t s, int vectors) {
        multiply_scores(key_panels + static_cast<size_t>(block.base) * head_dim, head_dim,
                        static_cast<size_t>(strip.key_lo - block.base),
                        static_cast<size_t>(strip.key_hi - block.base),
                        buffers.q_strips + s * kStripLanes * head_dim, vectors,
                        buffers.scores + strip.lane_begin);
      },
      [](const ScoreStrip&) {});
}

// line 10: O = O * correction + P V.
inline void add_values(const Problem& problem, const Unit& unit, const RowTile& tile,
                       const KeyBlock& block, const float* value_strips,
                       const ForwardBuffers& buffers) {
  DepthRange ranges[kBlockQ / kTileRows];
  for (int64_t row = 0; row < tile.num_rows; row += kTileRows) {
    const core::KeyInterval keys = block.is_full ? core::KeyInterval{block.lo, block.hi}
                                                 : keys_of_rows(tile, block, row, row + kTileRows);
    ranges[row / kTileRows] = {static_cast<size_t>(keys.lo - block.base),
                               static_cast<size_t>(keys.hi - block.base)};
  }
  multiply_strips<ColumnsOfScores, Output::scale_add>(
      static_cast<size_t>(tile.num_rows), buffers.scores,
      {value_strips, static_cast<size_t>(unit.sequence.k_len), static_cast<size_t>(block.base)},
      ranges, static_cast<size_t>(problem.v.dim), buffers.o, buffers.correction);
}

// The share of V's rows that are not finite, which the strips hold as zeros: only rows that see
// such a key take it.
inline void add_special_values(const Problem& problem, const Unit& unit, const RowTile& tile,
                               const KeyBlock& block, const ForwardBuffers& buffers) {
  const auto dim = static_cast<size_t>(problem.v.dim);
  const float factor = descale_of(problem, problem.descale.v, unit);
  float* values = buffers.rows;
  for (int64_t key = block.lo; key < block.hi; ++key) {
    const core::KeyPlace place = core::key_place(problem, unit.sequence, key);
    load_row(problem.v, core::row_offset(problem.v, place.batch, place.seq, unit.kv_head), factor,
             values);
    if (is_finite(values, dim)) {
      continue;
    }
    const float* weights = buffers.scores + (key - block.base) * kBlockQ;
    for (int64_t row = 0; row < tile.num_rows; ++row) {
      float* o_row = buffers.o + static_cast<size_t>(row) * padded(dim);
      for (size_t i = 0; i < dim && weights[row] != 0.0f; ++i) {
        o_row[i] += weights[row] * values[i];
      }
    }
  }
}

// A sink is a key that every row saw first: its logit is the row's maximum, its weight 1, and it
// has no value.
inline void start_rows(const Problem& problem, const Unit& unit, const RowTile& tile,
                       const ForwardBuffers& buffers) {
  std::fill_n(buffers.o, kBlockQ * padded(static_cast<size_t>(problem.v.dim)), 0.0f);
  std::fill_n(buffers.max, kBlockQ, kMasked);
  std::fill_n(buffers.sum, kBlockQ, 0.0f);
  if (problem.sink.logits == nullptr) {
    return;
  }
  for (int64_t row = 0; row < tile.num_rows; ++row) {
    const float logit = problem.sink.logits[unit.head_of(tile.first_row + row)];
    buffers.max[row] = logit * kLog2E;
    buffers.sum[row] = logit == kMasked ? 0.0f : 1.0f;
  }
}

// lines 12-13: O / l and LSE = ln2 * (m + log2 l) of every row.
inline void write_rows(const ForwardOutputs& outputs, const Unit& unit, const RowTile& tile,
                       const ForwardBuffers& buffers) {
  const size_t o_stride = padded(static_cast<size_t>(outputs.o.dim));
  for (int64_t row = 0; row < tile.num_rows; ++row) {
    const int64_t merged = tile.first_row + row;
    const float sum = buffers.sum[row];
    const bool is_masked = sum == 0.0f;
    float* o_row = buffers.o + static_cast<size_t>(row) * o_stride;
    if (is_masked) {
      std::fill_n(o_row, o_stride, 0.0f);
    }
    store_row(outputs.o, query_row_offset(outputs.o, unit, merged), is_masked ? 1.0f : 1.0f / sum,
              o_row);
    if (outputs.lse.data != nullptr) {
      outputs.lse.data[unit.sequence.batch * outputs.lse.stride_batch +
                       unit.head_of(merged) * outputs.lse.stride_head + unit.sequence.q_begin +
                       unit.query_of(merged)] =
          is_masked ? kMasked : kLn2 * (buffers.max[row] + std::log2(sum));
    }
  }
}

inline void forward_tile(const ForwardCall& call, const Unit& unit, int64_t tile_idx,
                         const PackedUnit& packed, float* scratch) {
  const Problem& problem = *call.problem;
  const ForwardBuffers buffers(problem, scratch);
  const RowTile tile = row_tile_at(problem, unit, tile_idx);
  pack_query_strips(problem.q, unit, tile,
                    query_factor(problem) * descale_of(problem, problem.descale.q, unit),
                    buffers.rows, buffers.q_strips);
  start_rows(problem, unit, tile, buffers);
  for (int64_t b = tile.first_block(); b < tile.end_block(); ++b) {
    const KeyBlock block = key_block_at(problem, unit, tile, b);
    if (block.cover == Cover::none) {
      continue;
    }
    score_block(problem, unit, tile, block, packed.key_panels, buffers);
    add_values(problem, unit, tile, block, packed.value_strips, buffers);
    if (packed.has_special_values[b] != 0) {
      add_special_values(problem, unit, tile, block, buffers);
    }
  }
  write_rows(*call.outputs, unit, tile, buffers);
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
