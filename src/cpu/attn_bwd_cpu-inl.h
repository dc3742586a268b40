// attn_bwd_cpu: exact attention backward for CPUs, tiled, deterministic at every thread count.
// Math     P = exp(S - LSE); dV = P^T dO; dP = dO V^T; dS = P * (dP - delta),
//          delta = rowsum(dO * O) - dLSE; dQ = scale * dS K; dK = scale * dS^T Q.
// Shapes   as the forward; dO like O, dQ dK dV like Q K V, each in its own dtype.
// Tiling   task = (sequence, key/value head, 192 keys): dK and dV of the block stay with the task,
//          which loops the unit's tiles of 96 merged query rows from the last to the first. Scores
//          and dP are computed transposed, [key, row], so all five products are register tiles
//          without any transposition:
//            S^T = K Q^T   dP^T = V dO^T   (A = key panels, B = row strips)
//            dV += P^T dO  dK += dS^T Q    (A = rows of the tile)
//            dQ += dS K                    (A = columns of the tile)
// Order    dQ of a row tile takes its key blocks in ascending order: a task waits for its
//          predecessor's turn on that tile. Tasks of one unit start in ascending order and walk
//          tiles in the same direction, so a follower runs one tile behind, and the oldest running
//          task never waits.
// Memory   per unit K, V as panels, K as strips; Q, dO as row strips and as strips, dQ in f32: at
//          most kWaveBudget for the units in flight. Per thread two score tiles (144 KiB), dK and
//          dV [192, D + Dv].
// Skipping as the forward; the depth of every product is trimmed to the rows or keys that see each
//          other.
// Numerics f32 accumulation; log2(e) folded into Q for S, scale applied to dQ and dK when they are
//          written; rows with LSE = -inf have P = 0.
// Limits   see why_unsupported_tiled().
// Source   Dao 2023 (arXiv 2307.08691) Alg. 2; own packing and order.
#if defined(REGARD_CPU_ATTN_BWD_CPU_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_ATTN_BWD_CPU_INL_H_
#undef REGARD_CPU_ATTN_BWD_CPU_INL_H_
#else
#define REGARD_CPU_ATTN_BWD_CPU_INL_H_
#endif

#include <cmath>

#include "cpu/attn_bwd_cpu.h"
#include "cpu/pack-inl.h"
#include "cpu/scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// Head sizes of a call, plain and padded to whole vectors.
struct HeadSizes {
  size_t qk, v, qk_padded, v_padded;
};
inline HeadSizes head_sizes(const Problem& problem) {
  const auto qk = static_cast<size_t>(problem.q.dim);
  const auto v = static_cast<size_t>(problem.v.dim);
  return {qk, v, padded(qk), padded(v)};
}

// Packed keys of one unit.
struct PackedKeys {
  float *k_panels, *v_panels, *k_strips;

  static size_t floats(const Unit& unit, const HeadSizes& sizes) {
    const auto keys = static_cast<size_t>(unit.sequence.k_len);
    return whole_lines(whole_tile_rows(keys) * sizes.qk) +
           whole_lines(whole_tile_rows(keys) * sizes.v) + whole_lines(keys * sizes.qk_padded);
  }
  PackedKeys(const Unit& unit, const HeadSizes& sizes, float* memory) {
    const auto keys = static_cast<size_t>(unit.sequence.k_len);
    k_panels = memory;
    v_panels = k_panels + whole_lines(whole_tile_rows(keys) * sizes.qk);
    k_strips = v_panels + whole_lines(whole_tile_rows(keys) * sizes.v);
  }
};

// Packed rows of one row tile: Q and dO as B over rows (for S, dP) and as B over depth = rows (for
// dK, dV), dQ [kBlockQ, padded D], and per row LSE in log2 units and delta.
struct PackedRows {
  float *q_rows, *d_o_rows, *q_strips, *d_o_strips, *dq, *lse, *delta;

  static size_t floats(const HeadSizes& sizes) {
    return kBlockQ * (sizes.qk + sizes.v + 2 * sizes.qk_padded + sizes.v_padded + 2);
  }
  PackedRows(const HeadSizes& sizes, float* memory) {
    q_rows = memory;
    d_o_rows = q_rows + kBlockQ * sizes.qk;
    q_strips = d_o_rows + kBlockQ * sizes.v;
    d_o_strips = q_strips + kBlockQ * sizes.qk_padded;
    dq = d_o_strips + kBlockQ * sizes.v_padded;
    lse = dq + kBlockQ * sizes.qk_padded;
    delta = lse + kBlockQ;
  }
};

// One thread's buffers.
struct BackwardBuffers {
  float *rows, *weights, *gradients, *tanh_tile, *keep, *dk, *dv;
  ProgramTiles programs = {};

  static size_t floats(const Problem& problem) {
    const HeadSizes sizes = head_sizes(problem);
    const size_t extra = (problem.softcap != 0.0f ? 1 : 0) + (has_dropout(problem) ? 1 : 0) +
                         (has_score_program(problem) ? 1 : 0);
    return whole_lines(kPackRows * std::max(sizes.qk, sizes.v)) + kBlockQ * kBlockK * (2 + extra) +
           kBlockK * (sizes.qk_padded + sizes.v_padded) + program_floats(problem);
  }
  BackwardBuffers(const Problem& problem, float* scratch) {
    const HeadSizes sizes = head_sizes(problem);
    constexpr size_t kTile = kBlockQ * kBlockK;
    rows = scratch;
    weights = rows + whole_lines(kPackRows * std::max(sizes.qk, sizes.v));
    gradients = weights + kTile;
    dk = gradients + kTile;
    dv = dk + kBlockK * sizes.qk_padded;
    float* next = dv + kBlockK * sizes.v_padded;
    tanh_tile = problem.softcap != 0.0f ? next : nullptr;
    keep = next + (problem.softcap != 0.0f ? kTile : 0);
    next = keep + (has_dropout(problem) ? kTile : 0);
    programs.derivative = has_score_program(problem) ? next : nullptr;
    programs.memory = next + (has_score_program(problem) ? kTile : 0);
  }
};

inline int64_t lse_offset(const LseView& view, const Unit& unit, int64_t row) {
  return unit.sequence.batch * view.stride_batch + unit.head_of(row) * view.stride_head +
         unit.sequence.q_begin + unit.query_of(row);
}

// lse and delta of the tile's rows. Rows without a visible key get lse = +inf, hence P = 0.
inline void pack_row_scalars(const BackwardTensors& tensors, const Unit& unit, const RowTile& tile,
                             float* scratch, const PackedRows& to) {
  const auto value_dim = static_cast<size_t>(tensors.o.dim);
  for (int64_t row = 0; row < kBlockQ; ++row) {
    to.lse[row] = -kMasked;
    to.delta[row] = 0.0f;
    if (row >= tile.num_rows) {
      continue;
    }
    const int64_t merged = tile.first_row + row;
    const float lse = tensors.lse.data[lse_offset(tensors.lse, unit, merged)];
    if (lse == kMasked) {
      continue;
    }
    load_row(tensors.o, query_row_offset(tensors.o, unit, merged), 1.0f, scratch);
    load_row(tensors.d_o, query_row_offset(tensors.d_o, unit, merged), 1.0f, scratch + value_dim);
    float sum = dot(scratch, scratch + value_dim, value_dim);
    if (tensors.d_lse.data != nullptr) {
      sum -= tensors.d_lse.data[lse_offset(tensors.d_lse, unit, merged)];
    }
    to.lse[row] = lse * kLog2E;
    to.delta[row] = sum;
  }
}

// Rows of a tile times `factor` as B strips with depth = row. Rows that see no key are zero, and
// with NonFinite::as_zero those with an infinity or NaN: a weight of 0 must not spread them.
inline void pack_row_strips(const View& view, const Unit& unit, const RowTile& tile, float factor,
                            NonFinite non_finite, const float* lse, float* rows, float* strips) {
  const auto dim = static_cast<size_t>(view.dim);
  for (int64_t first = 0; first < tile.num_rows; first += kPackRows) {
    const int64_t count = std::min<int64_t>(kPackRows, tile.num_rows - first);
    for (int64_t i = 0; i < count; ++i) {
      float* row = rows + static_cast<size_t>(i) * dim;
      if (lse[first + i] == -kMasked) {
        std::fill_n(row, dim, 0.0f);
      } else {
        load_row(view, query_row_offset(view, unit, tile.first_row + first + i), factor, row);
      }
    }
    rows_to_strips(rows, static_cast<size_t>(count), dim, non_finite, static_cast<size_t>(first),
                   kBlockQ, strips);
  }
}

inline void pack_rows(const BackwardCall& call, const Unit& unit, const RowTile& tile,
                      float* scratch, const PackedRows& to) {
  const Problem& problem = *call.problem;
  const BackwardTensors& tensors = *call.tensors;
  const float q_factor = descale_of(problem, problem.descale.q, unit);
  pack_query_strips(problem.q, unit, tile, query_factor(problem) * q_factor, scratch, to.q_rows);
  pack_query_strips(tensors.d_o, unit, tile, 1.0f, scratch, to.d_o_rows);
  pack_row_scalars(tensors, unit, tile, scratch, to);
  // A row of Q that is not finite has NaN in dS wherever it counts, dO only shows in dV.
  pack_row_strips(problem.q, unit, tile, q_factor, NonFinite::as_zero, to.lse, scratch,
                  to.q_strips);
  pack_row_strips(call.int8 == nullptr ? tensors.d_o : call.int8->d_o, unit, tile, 1.0f,
                  NonFinite::keep, to.lse, scratch, to.d_o_strips);
  std::fill_n(to.dq, kBlockQ * padded(static_cast<size_t>(problem.q.dim)), 0.0f);
}

// What the tile's rows add to the gradient of their heads' sinks: the sink's weight is
// exp(logit - LSE), its value 0. `sums` has one entry for each head of the group.
inline void add_sink_gradients(const Problem& problem, const Unit& unit, const RowTile& tile,
                               const PackedRows& rows, double* sums) {
  for (int64_t row = 0; row < tile.num_rows; ++row) {
    const int64_t head = unit.head_of(tile.first_row + row);
    const float log2_weight = problem.sink.logits[head] * kLog2E - rows.lse[row];
    if (log2_weight != kMasked) {
      sums[head - unit.kv_head * unit.group] -=
          std::exp2(double{log2_weight}) * double{rows.delta[row]};
    }
  }
}

// P = exp2(S - lse) of one strip, in place.
inline void weights_of(const ScoreStrip& strip, const float* lse, float* scores) {
  const F32 d;
  for (int64_t lane = 0; lane < strip.num_lanes; lane += kLanes) {
    const Vec base = hn::LoadU(d, lse + strip.lane_begin + lane);
    for (int64_t key = strip.key_lo; key < strip.key_hi; ++key) {
      float* at = strip.at(scores, key, strip.lane_begin + lane);
      hn::Store(exp2_of(hn::Sub(hn::Load(d, at), base)), d, at);
    }
  }
}

// dS = P * (dP - delta), in place of dP, times what lies between the products and the softmax:
// 1 - tanh^2 of softcap, and the derivative of a score program. Where P is 0 so is dS, whatever
// the values of a masked key are.
inline void score_gradients(const ScoreStrip& strip, const float* delta,
                            const BackwardBuffers& buffers) {
  const F32 d;
  const Vec one = hn::Set(d, 1.0f);
  const Vec zero = hn::Zero(d);
  for (int64_t lane = 0; lane < strip.num_lanes; lane += kLanes) {
    const Vec mean = hn::LoadU(d, delta + strip.lane_begin + lane);
    for (int64_t key = strip.key_lo; key < strip.key_hi; ++key) {
      float* at = strip.at(buffers.gradients, key, strip.lane_begin + lane);
      const Vec p = hn::Load(d, strip.at(buffers.weights, key, strip.lane_begin + lane));
      Vec ds = hn::Mul(p, hn::Sub(hn::Load(d, at), mean));
      if (buffers.tanh_tile != nullptr) {
        const Vec t = hn::Load(d, strip.at(buffers.tanh_tile, key, strip.lane_begin + lane));
        ds = hn::Mul(ds, hn::NegMulAdd(t, t, one));
      }
      if (strip.programs.derivative != nullptr) {
        ds = hn::Mul(
            ds, hn::Load(d, strip.at(strip.programs.derivative, key, strip.lane_begin + lane)));
      }
      hn::Store(hn::IfThenZeroElse(hn::Eq(p, zero), ds), d, at);
    }
  }
}

// Dropout: dP *= keep before dS is formed; P *= keep afterwards, for dV.
inline void multiply_keep(const ScoreStrip& strip, const float* keep, float* tile) {
  const F32 d;
  for (int64_t key = strip.key_lo; key < strip.key_hi; ++key) {
    for (int64_t lane = 0; lane < strip.num_lanes; lane += kLanes) {
      const int64_t at = (key - strip.base) * kBlockQ + strip.lane_begin + lane;
      hn::Store(hn::Mul(hn::Load(d, tile + at), hn::Load(d, keep + at)), d, tile + at);
    }
  }
}

// From the scores with all terms and dP^T of one strip to the P that multiplies dO, and dS; in
// place.
inline void finish_weights(const ScoreStrip& strip, const PackedRows& rows,
                           const BackwardBuffers& buffers) {
  const bool drops = has_dropout(*strip.problem);
  weights_of(strip, rows.lse, buffers.weights);
  if (drops) {
    fill_dropout(strip, buffers.keep);
    multiply_keep(strip, buffers.keep, buffers.gradients);
  }
  score_gradients(strip, rows.delta, buffers);
  if (drops) {
    multiply_keep(strip, buffers.keep, buffers.weights);
  }
}

// The same from S^T.
inline void finish_gradients(const ScoreStrip& strip, bool is_full, const PackedRows& rows,
                             const BackwardBuffers& buffers) {
  apply_terms(strip, is_full, buffers.weights, buffers.tanh_tile);
  finish_weights(strip, rows, buffers);
}

// S^T and dP^T of every strip of a row tile over one key block, then finish(strip).
template <class Finish>
void score_strips(const Problem& problem, const Unit& unit, const RowTile& tile,
                  const KeyBlock& block, const PackedKeys& keys_of_unit, const PackedRows& rows,
                  const BackwardBuffers& buffers, const Finish& finish) {
  const HeadSizes sizes = head_sizes(problem);
  const auto num_rows = static_cast<size_t>(tile.num_rows);
  const auto base = static_cast<size_t>(block.base);
  for (size_t s = 0; s < num_strips(num_rows); ++s) {
    const auto lane_begin = static_cast<int64_t>(s * kStripLanes);
    const int vectors = strip_vectors(num_rows, s);
    const auto num_lanes = static_cast<int64_t>(vectors * kLanes);
    const core::KeyInterval keys =
        block.is_full ? core::KeyInterval{block.lo, block.hi}
                      : keys_of_rows(tile, block, lane_begin, lane_begin + num_lanes);
    const ScoreStrip strip{&problem, &unit,      &tile,     block.base,  keys.lo,
                           keys.hi,  lane_begin, num_lanes, block.cover, buffers.programs};
    const auto lo = static_cast<size_t>(keys.lo - block.base);
    const auto hi = static_cast<size_t>(keys.hi - block.base);
    multiply_scores(keys_of_unit.k_panels + base * sizes.qk, sizes.qk, lo, hi,
                    rows.q_rows + s * kStripLanes * sizes.qk, vectors,
                    buffers.weights + lane_begin);
    multiply_scores(keys_of_unit.v_panels + base * sizes.v, sizes.v, lo, hi,
                    rows.d_o_rows + s * kStripLanes * sizes.v, vectors,
                    buffers.gradients + lane_begin);
    finish(strip);
  }
}

// P and dS of a row tile over one key block, changed by change(strip).
template <class Change>
void score_block_backward(const Problem& problem, const Unit& unit, const RowTile& tile,
                          const KeyBlock& block, const PackedKeys& keys_of_unit,
                          const PackedRows& rows, const BackwardBuffers& buffers,
                          const Change& change) {
  // dK and dV are formed for whole groups of keys: what lies outside a strip's keys must add 0.
  const int64_t group_lo = block.base + (block.lo - block.base) / kTileRows * kTileRows;
  const auto group_hi =
      block.base +
      static_cast<int64_t>(whole_tile_rows(static_cast<size_t>(block.hi - block.base)));
  score_strips(problem, unit, tile, block, keys_of_unit, rows, buffers,
               [&](const ScoreStrip& strip) {
                 finish_gradients(strip, block.is_full, rows, buffers);
                 change(strip);
                 for (float* cleared : {buffers.weights, buffers.gradients}) {
                   clear_keys(strip, group_lo, strip.key_lo, cleared);
                   clear_keys(strip, strip.key_hi, group_hi, cleared);
                 }
               });
}

// dV += P^T dO and dK += dS^T Q for the block's keys; depth is the rows each group of keys is seen
// by.
inline void add_key_gradients(const Problem& problem, const RowTile& tile, const KeyBlock& block,
                              const PackedRows& rows, const BackwardBuffers& buffers) {
  const HeadSizes sizes = head_sizes(problem);
  DepthRange ranges[kBlockK / kTileRows];
  const auto num_keys = static_cast<size_t>(block.hi - block.base);
  for (int64_t key = block.base; key < block.hi; key += kTileRows) {
    const int64_t lo = std::max(key, block.lo);
    const int64_t hi = std::min(key + kTileRows, block.hi);
    const core::KeyInterval seen =
        block.is_full && lo < hi ? core::KeyInterval{0, tile.num_rows} : rows_of_keys(tile, lo, hi);
    ranges[(key - block.base) / kTileRows] = {static_cast<size_t>(seen.lo),
                                              static_cast<size_t>(seen.hi)};
  }
  multiply_strips<RowsOfScores, Output::add>(num_keys, buffers.weights,
                                             {rows.d_o_strips, kBlockQ, 0}, ranges, sizes.v,
                                             buffers.dv, nullptr);
  multiply_strips<RowsOfScores, Output::add>(num_keys, buffers.gradients,
                                             {rows.q_strips, kBlockQ, 0}, ranges, sizes.qk,
                                             buffers.dk, nullptr);
}

// dQ += dS K for the tile's rows; depth is the keys each group of rows sees.
inline void add_query_gradients(const Problem& problem, const Unit& unit, const RowTile& tile,
                                const KeyBlock& block, const PackedKeys& keys_of_unit,
                                const PackedRows& rows, const BackwardBuffers& buffers) {
  DepthRange ranges[kBlockQ / kTileRows];
  for (int64_t row = 0; row < tile.num_rows; row += kTileRows) {
    const core::KeyInterval keys = block.is_full ? core::KeyInterval{block.lo, block.hi}
                                                 : keys_of_rows(tile, block, row, row + kTileRows);
    ranges[row / kTileRows] = {static_cast<size_t>(keys.lo - block.base),
                               static_cast<size_t>(keys.hi - block.base)};
  }
  multiply_strips<ColumnsOfScores, Output::add>(
      static_cast<size_t>(tile.num_rows), buffers.gradients,
      {keys_of_unit.k_strips, static_cast<size_t>(unit.sequence.k_len),
       static_cast<size_t>(block.base)},
      ranges, static_cast<size_t>(problem.q.dim), rows.dq, nullptr);
}

// dK and dV of one key block to their outputs.
inline void write_key_gradients(const BackwardCall& call, const Unit& unit, int64_t block_idx,
                                const BackwardBuffers& buffers) {
  const Problem& problem = *call.problem;
  const View& dk = call.tensors->dk;
  const View& dv = call.tensors->dv;
  const HeadSizes sizes = head_sizes(problem);
  const core::Sequence& sequence = unit.sequence;
  const int64_t begin = block_idx * kBlockK;
  const int64_t end = std::min(sequence.k_len, begin + kBlockK);
  for (int64_t key = begin; key < end; ++key) {
    const int64_t seq = sequence.k_begin + key;
    const auto row = static_cast<size_t>(key - begin);
    store_row(dk, core::row_offset(dk, sequence.batch, seq, unit.kv_head),
              problem.scale * descale_of(problem, problem.descale.k, unit),
              buffers.dk + row * sizes.qk_padded);
    store_row(dv, core::row_offset(dv, sequence.batch, seq, unit.kv_head),
              descale_of(problem, problem.descale.v, unit), buffers.dv + row * sizes.v_padded);
  }
}

// dQ of one row tile to its output.
inline void write_query_gradients(const BackwardCall& call, const Unit& unit, const RowTile& tile,
                                  const PackedRows& rows) {
  const Problem& problem = *call.problem;
  const View& dq = call.tensors->dq;
  const size_t stride = head_sizes(problem).qk_padded;
  const float factor = problem.scale * descale_of(problem, problem.descale.q, unit);
  for (int64_t row = 0; row < tile.num_rows; ++row) {
    store_row(dq, query_row_offset(dq, unit, tile.first_row + row), factor,
              rows.dq + static_cast<size_t>(row) * stride);
  }
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
