// attn_eager_cpu: attention with materialised scores, forward and backward: the yardstick.
// Math     as attn_fwd_cpu and attn_bwd_cpu, one whole matrix after the other: S = Q K^T,
//          P = softmax(S), O = P V; dP = dO V^T, dS = P * (dP - delta), dV = P^T dO, dK = dS^T Q,
//          dQ = dS K; dS before the derivative of softcap is what bias and slopes sum, delta what
//          the sink sums.
// Shapes   as attn_fwd_cpu and attn_bwd_cpu.
// Tiling   none over keys and no skipping: masked scores are computed and overwritten with -inf. A
//          matrix is kept as slabs [Sk, 96 merged rows], so that the register tiles of the tiled
//          kernels serve here too; each step runs over all slabs of the units in flight before the
//          next one starts.
// Memory   Sq x Sk f32 a query head in the forward, twice that in the backward (more with softcap
//          or dropout), for the units in flight: at least one key/value head, else at most
//          kWaveBudget.
// Numerics f32; softmax over whole rows, not online; a fully masked row gives O = 0, LSE = -inf.
// Limits   see why_unsupported_eager().
// Source   the definition.
#if defined(REGARD_CPU_ATTN_EAGER_CPU_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_ATTN_EAGER_CPU_INL_H_
#undef REGARD_CPU_ATTN_EAGER_CPU_INL_H_
#else
#define REGARD_CPU_ATTN_EAGER_CPU_INL_H_
#endif

#include "cpu/attn_dscore_cpu-inl.h"
#include "cpu/attn_eager_cpu.h"
#include "cpu/attn_fwd_cpu-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// Floats of one slab: scores of 96 rows against all keys, in whole groups of keys. Transposing
// reads up to three keys past the last.
inline size_t slab_floats(const Unit& unit) {
  return kBlockQ * whole_tile_rows(static_cast<size_t>(unit.sequence.k_len) + 3);
}

// What one row tile keeps between the steps of a forward: S or P, the dropout factors, and per row
// max, sum and the (unused) correction of the online softmax.
inline size_t eager_forward_floats(const Problem& problem, const Unit& unit) {
  return slab_floats(unit) * (has_dropout(problem) ? 2 : 1) + 3 * kBlockQ;
}
inline ForwardBuffers eager_forward_buffers(const Problem& problem, const Unit& unit,
                                            float* scratch, float* tile_memory) {
  ForwardBuffers buffers(problem, scratch);
  buffers.scores = tile_memory;
  buffers.keep = tile_memory + (has_dropout(problem) ? slab_floats(unit) : 0);
  buffers.max = buffers.keep + slab_floats(unit);
  buffers.sum = buffers.max + kBlockQ;
  buffers.correction = buffers.sum + kBlockQ;
  return buffers;
}

// The same for a backward: P, dP (then dS), tanh, dropout factors.
inline size_t eager_backward_floats(const Problem& problem, const Unit& unit) {
  const size_t extra = (problem.softcap != 0.0f ? 1 : 0) + (has_dropout(problem) ? 1 : 0);
  return slab_floats(unit) * (2 + extra);
}
inline BackwardBuffers eager_backward_buffers(const Problem& problem, const Unit& unit,
                                              float* scratch, float* tile_memory) {
  BackwardBuffers buffers(problem, scratch);
  const size_t slab = slab_floats(unit);
  buffers.weights = tile_memory;
  buffers.gradients = tile_memory + slab;
  buffers.tanh_tile = problem.softcap != 0.0f ? tile_memory + 2 * slab : nullptr;
  buffers.keep = tile_memory + (problem.softcap != 0.0f ? 3 : 2) * slab;
  return buffers;
}

// Strip `s` of a tile with all keys of the unit.
inline ScoreStrip whole_strip(const Problem& problem, const Unit& unit, const RowTile& tile,
                              size_t s) {
  const int vectors = strip_vectors(static_cast<size_t>(tile.num_rows), s);
  return {&problem,
          &unit,
          &tile,
          0,
          0,
          unit.sequence.k_len,
          static_cast<int64_t>(s * kStripLanes),
          static_cast<int64_t>(vectors * kLanes)};
}
inline bool sees_all_keys(const Unit& unit, const RowTile& tile) {
  return tile.full.lo <= 0 && tile.full.hi >= unit.sequence.k_len;
}
inline int vectors_of(const ScoreStrip& strip) {
  return static_cast<int>(strip.num_lanes / static_cast<int64_t>(kLanes));
}

// Step 1: S = scale * Q K^T with bias, masks and the rest.
inline void eager_scores(const Problem& problem, const Unit& unit, const RowTile& tile,
                         const float* key_panels, const ForwardBuffers& buffers) {
  const auto head_dim = static_cast<size_t>(problem.q.dim);
  pack_query_strips(problem.q, unit, tile, query_factor(problem), buffers.rows, buffers.q_strips);
  for (size_t s = 0; s < num_strips(static_cast<size_t>(tile.num_rows)); ++s) {
    const ScoreStrip strip = whole_strip(problem, unit, tile, s);
    multiply_scores(key_panels, head_dim, 0, static_cast<size_t>(unit.sequence.k_len),
                    buffers.q_strips + s * kStripLanes * head_dim, vectors_of(strip),
                    buffers.scores + strip.lane_begin);
    apply_terms(strip, sees_all_keys(unit, tile), buffers.scores, nullptr);
  }
}

// Step 2: P = softmax(S), not yet divided by the row's sum.
inline void eager_softmax(const Problem& problem, const Unit& unit, const RowTile& tile,
                          const ForwardBuffers& buffers) {
  start_rows(problem, unit, tile, buffers);
  for (size_t s = 0; s < num_strips(static_cast<size_t>(tile.num_rows)); ++s) {
    const ScoreStrip strip = whole_strip(problem, unit, tile, s);
    for (int64_t v = 0; v < strip.num_lanes; v += kLanes) {
      const int64_t lane = strip.lane_begin + v;
      softmax_lanes(buffers.scores + lane, unit.sequence.k_len, buffers.max + lane,
                    buffers.sum + lane, buffers.correction + lane);
    }
    if (has_dropout(problem)) {
      drop_weights(strip, buffers.scores, buffers.keep);
    }
  }
}

// Every group of rows or keys takes the whole depth.
inline void fill_ranges(size_t rows, size_t depth, DepthRange* ranges) {
  for (size_t row = 0; row < rows; row += kTileRows) {
    ranges[row / kTileRows] = {0, depth};
  }
}

// Step 3: O = P V / sum. `has_special_values`: some row of V is not finite, zero in the strips.
inline void eager_values(const Problem& problem, const ForwardOutputs& outputs, const Unit& unit,
                         const RowTile& tile, const float* value_strips, bool has_special_values,
                         const ForwardBuffers& buffers) {
  const auto num_rows = static_cast<size_t>(tile.num_rows);
  const auto num_keys = static_cast<size_t>(unit.sequence.k_len);
  DepthRange ranges[kBlockQ / kTileRows];
  fill_ranges(num_rows, num_keys, ranges);
  multiply_strips<ColumnsOfScores, Output::set>(
      num_rows, buffers.scores, {value_strips, num_keys, 0}, ranges,
      static_cast<size_t>(problem.v.dim), buffers.o, nullptr);
  if (has_special_values) {
    const KeyBlock all_keys{.base = 0, .lo = 0, .hi = unit.sequence.k_len};
    add_special_values(problem, unit, tile, all_keys, buffers);
  }
  write_rows(outputs, unit, tile, buffers);
}

// Backward step 1: P and dS of one tile, dS without the derivative of softcap.
inline void eager_score_gradients(const Problem& problem, const Unit& unit, const RowTile& tile,
                                  const PackedKeys& keys, const PackedRows& rows,
                                  const BackwardBuffers& buffers) {
  const HeadSizes sizes = head_sizes(problem);
  const auto num_keys = static_cast<size_t>(unit.sequence.k_len);
  BackwardBuffers without_softcap = buffers;
  without_softcap.tanh_tile = nullptr;
  for (size_t s = 0; s < num_strips(static_cast<size_t>(tile.num_rows)); ++s) {
    const ScoreStrip strip = whole_strip(problem, unit, tile, s);
    multiply_scores(keys.k_panels, sizes.qk, 0, num_keys, rows.q_rows + s * kStripLanes * sizes.qk,
                    vectors_of(strip), buffers.weights + strip.lane_begin);
    multiply_scores(keys.v_panels, sizes.v, 0, num_keys, rows.d_o_rows + s * kStripLanes * sizes.v,
                    vectors_of(strip), buffers.gradients + strip.lane_begin);
    apply_terms(strip, sees_all_keys(unit, tile), buffers.weights, buffers.tanh_tile);
    finish_weights(strip, rows, without_softcap);
  }
}

// Backward step 2: dS times the derivative of softcap, where there is one. 0 stays 0: tanh of a
// masked key may be NaN.
inline void eager_softcap_gradients(const Problem& problem, const Unit& unit, const RowTile& tile,
                                    const BackwardBuffers& buffers) {
  const F32 d;
  const Vec one = hn::Set(d, 1.0f);
  const Vec zero = hn::Zero(d);
  for (size_t s = 0; s < num_strips(static_cast<size_t>(tile.num_rows)); ++s) {
    const ScoreStrip strip = whole_strip(problem, unit, tile, s);
    for (int64_t key = 0; key < strip.key_hi; ++key) {
      for (int64_t lane = 0; lane < strip.num_lanes; lane += kLanes) {
        float* at = strip.at(buffers.gradients, key, strip.lane_begin + lane);
        const Vec t = hn::Load(d, strip.at(buffers.tanh_tile, key, strip.lane_begin + lane));
        const Vec ds = hn::Load(d, at);
        hn::Store(hn::IfThenZeroElse(hn::Eq(ds, zero), hn::Mul(ds, hn::NegMulAdd(t, t, one))), d,
                  at);
      }
    }
  }
}

// Adds dS of keys [block * kBlockK, ...) of one tile to the gradient of the bias.
inline void eager_add_bias_gradient(const Problem& problem, const Unit& unit, const RowTile& tile,
                                    int64_t block, const BackwardBuffers& buffers,
                                    const BiasCollector& collector) {
  BackwardBuffers of_block = buffers;
  of_block.gradients = buffers.gradients + block * kBlockK * kBlockQ;
  for (size_t s = 0; s < num_strips(static_cast<size_t>(tile.num_rows)); ++s) {
    ScoreStrip strip = whole_strip(problem, unit, tile, s);
    strip.base = strip.key_lo = block * kBlockK;
    strip.key_hi = std::min(strip.key_lo + kBlockK, unit.sequence.k_len);
    collector.add({}, strip, of_block);
  }
}

// Backward step 3: dV and dK of keys [begin, begin + kBlockK) over one tile.
inline void eager_add_key_gradients(const Problem& problem, const Unit& unit, const RowTile& tile,
                                    int64_t begin, const PackedRows& rows,
                                    const BackwardBuffers& buffers) {
  const HeadSizes sizes = head_sizes(problem);
  const auto num_keys = static_cast<size_t>(std::min(kBlockK, unit.sequence.k_len - begin));
  DepthRange ranges[kBlockK / kTileRows];
  fill_ranges(num_keys, static_cast<size_t>(tile.num_rows), ranges);
  multiply_strips<RowsOfScores, Output::add>(num_keys, buffers.weights + begin * kBlockQ,
                                             {rows.d_o_strips, kBlockQ, 0}, ranges, sizes.v,
                                             buffers.dv, nullptr);
  multiply_strips<RowsOfScores, Output::add>(num_keys, buffers.gradients + begin * kBlockQ,
                                             {rows.q_strips, kBlockQ, 0}, ranges, sizes.qk,
                                             buffers.dk, nullptr);
}

// Backward step 4: dQ of one tile.
inline void eager_query_gradients(const Problem& problem, const Unit& unit, const RowTile& tile,
                                  const PackedKeys& keys, const PackedRows& rows,
                                  const BackwardBuffers& buffers) {
  const auto num_rows = static_cast<size_t>(tile.num_rows);
  const auto num_keys = static_cast<size_t>(unit.sequence.k_len);
  DepthRange ranges[kBlockQ / kTileRows];
  fill_ranges(num_rows, num_keys, ranges);
  multiply_strips<ColumnsOfScores, Output::set>(
      num_rows, buffers.gradients, {keys.k_strips, num_keys, 0}, ranges,
      static_cast<size_t>(problem.q.dim), rows.dq, nullptr);
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
