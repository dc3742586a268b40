// attn_dscore_cpu: gradients of what scores are changed by (dense bias, ALiBi slopes, tensors of a
// score program), deterministic.
// Math     dX = P * (dP - delta), the gradient of the score after softcap and score program;
//          d_bias = sum of dX over the axes that the bias broadcasts;
//          d_slope[h] = -sum of dX * |query position - key position| over the rows of head h;
//          d_tensor[e] = sum of dX * d program / d element e (program_gradients-inl.h).
// Shapes   d_bias as the bias; d_slopes [Hq] or [B,Hq]; all f32.
// Tiling   after attn_bwd_cpu has packed a wave of units, its pairs (row tile, key block) are
//          computed a second time (two of the backward's five products) and handed to a collector.
//          Pairs that may add to the same element form one task: one writer an element, sums in the
//          order of units, tiles and blocks, whatever the number of threads.
// Memory   that of attn_bwd_cpu.
// Skipping as attn_bwd_cpu; entries that no row sees are zero.
// Numerics f32 sums inside a tile and over a bias's broadcast axes, f64 over tiles for slopes.
// Limits   see why_unsupported_tiled().
// Source   Dao 2023 (arXiv 2307.08691) Alg. 2 for dX; own order.
#if defined(REGARD_CPU_ATTN_DSCORE_CPU_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_ATTN_DSCORE_CPU_INL_H_
#undef REGARD_CPU_ATTN_DSCORE_CPU_INL_H_
#else
#define REGARD_CPU_ATTN_DSCORE_CPU_INL_H_
#endif

#include <algorithm>
#include <array>
#include <vector>

#include "cpu/attn_bwd_wave-inl.h"
#include "cpu/program_gradients-inl.h"
#include "cpu/task_queue.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// One pair (row tile of the wave, key block of its unit).
struct TileBlock {
  size_t tile;
  int64_t block;
};

// Pairs with equal keys must be computed one after the other.
using TaskKey = std::array<int64_t, 4>;

// Pairs of a wave, cut into tasks: pairs[begin[t]] .. pairs[begin[t + 1]] belong to task t.
struct DscoreTasks {
  std::vector<TileBlock> pairs;
  std::vector<size_t> begin;
};

template <class Collector>
DscoreTasks dscore_tasks(const BackwardWave& wave, const Collector& collector) {
  struct Keyed {
    TaskKey key;
    TileBlock pair;
  };
  std::vector<Keyed> keyed;
  for (size_t i = 0; i < wave.tiles.size(); ++i) {
    for (int64_t b = wave.tiles[i].first_block(); b < wave.tiles[i].end_block(); ++b) {
      if (wave.visits(i, b)) {
        keyed.push_back({collector.key_of(wave, {i, b}), {i, b}});
      }
    }
  }
  std::stable_sort(keyed.begin(), keyed.end(),
                   [](const Keyed& a, const Keyed& b) { return a.key < b.key; });
  DscoreTasks tasks;
  for (size_t i = 0; i < keyed.size(); ++i) {
    if (i == 0 || keyed[i].key != keyed[i - 1].key) {
      tasks.begin.push_back(i);
    }
    tasks.pairs.push_back(keyed[i].pair);
  }
  tasks.begin.push_back(keyed.size());
  return tasks;
}

// Computes dX of every pair of the wave and hands it to collector.add(pair, strip, buffers), where
// buffers.gradients holds dX.
template <class Collector>
void collect_with(const BackwardWave& wave, Collector& collector) {
  const Problem& problem = *wave.call->problem;
  const DscoreTasks tasks = dscore_tasks(wave, collector);
  const auto num_tasks = static_cast<int64_t>(tasks.begin.size()) - 1;
  run_tasks(num_tasks, wave.call->num_threads, [&](int64_t task, int thread) {
    BackwardBuffers buffers(problem, wave.scratch(thread));
    // dX is the gradient before the chain rule through program and softcap; the derivative's tile
    // keeps the scores that the program read.
    buffers.tanh_tile = nullptr;
    buffers.programs.raw = buffers.programs.derivative;
    buffers.programs.derivative = nullptr;
    for (size_t i = tasks.begin[static_cast<size_t>(task)];
         i < tasks.begin[static_cast<size_t>(task) + 1]; ++i) {
      const TileBlock pair = tasks.pairs[i];
      const UnitPart part = wave.parts[pair.tile];
      const Unit& unit = (*wave.units)[part.unit];
      const RowTile& tile = wave.tiles[pair.tile];
      const KeyBlock block = key_block_at(problem, unit, tile, pair.block);
      const PackedRows rows = wave.rows(part.unit, part.part);
      score_strips(problem, unit, tile, block, wave.keys(part.unit), rows, buffers,
                   [&](const ScoreStrip& strip) {
                     finish_gradients(strip, block.is_full, rows, buffers);
                     collector.add(pair, strip, buffers);
                   });
    }
  });
}

// to[lane][key - base] = tile[key][lane] of the strip's lanes [lane, lane + kLanes); `to` has rows
// of kBlockK. Up to three keys before and after the strip's are written too.
inline void rows_of_tile(const ScoreStrip& strip, const float* tile, int64_t lane,
                         float* HWY_RESTRICT to) {
  const float* from = tile + strip.lane_begin + lane;
  if constexpr (kLanes % 4 == 0) {
    for (int64_t key = (strip.key_lo - strip.base) / 4 * 4; key < strip.key_hi - strip.base;
         key += 4) {
      for (size_t i = 0; i < kLanes; i += 4) {
        transpose_4x4(from + key * kBlockQ + i, kBlockQ, kBlockK, to + i * kBlockK + key);
      }
    }
  } else {
    for (int64_t key = strip.key_lo - strip.base; key < strip.key_hi - strip.base; ++key) {
      for (size_t i = 0; i < kLanes; ++i) {
        to[i * kBlockK + static_cast<size_t>(key)] = from[key * kBlockQ + static_cast<int64_t>(i)];
      }
    }
  }
}

// Dense bias.
struct BiasCollector {
  BiasGradient out;

  // Axes that the gradient keeps keep pairs apart. Queries do so by row tile unless two tiles share
  // a query of which the gradient sums the heads.
  TaskKey key_of(const BackwardWave& wave, const TileBlock& pair) const {
    const UnitPart part = wave.parts[pair.tile];
    const Unit& unit = (*wave.units)[part.unit];
    const bool keeps_tiles =
        out.stride_q != 0 && (out.stride_head != 0 || kBlockQ % unit.group == 0);
    const bool keeps_keys = out.stride_k != 0;
    const bool is_packed = core::is_packed(*wave.call->problem);
    const bool keeps_sequence = is_packed ? keeps_tiles || keeps_keys : out.stride_batch != 0;
    return {keeps_sequence ? unit.sequence.index : 0, out.stride_head != 0 ? unit.kv_head : 0,
            keeps_tiles ? part.part : 0, keeps_keys ? pair.block : 0};
  }

  void add(const TileBlock&, const ScoreStrip& strip, const BackwardBuffers& buffers) const {
    HWY_ALIGN float rows[kLanes * kBlockK];
    for (int64_t lane = 0; lane < strip.live_lanes(); lane += kLanes) {
      rows_of_tile(strip, buffers.gradients, lane, rows);
      const int64_t live = std::min<int64_t>(kLanes, strip.live_lanes() - lane);
      for (int64_t i = 0; i < live; ++i) {
        add_row(strip, lane + i, rows + i * kBlockK);
      }
    }
  }

 private:
  // `row` holds dX of lane `lane` by key - base.
  void add_row(const ScoreStrip& strip, int64_t lane, const float* HWY_RESTRICT row) const {
    const int64_t lo = std::max<int64_t>(strip.key_lo, strip.tile->lo[strip.lane_begin + lane]);
    const int64_t hi = std::min<int64_t>(strip.key_hi, strip.tile->hi[strip.lane_begin + lane]);
    float* HWY_RESTRICT to = out.data + tensor_row_offset(strip, out, lane);
    if (out.stride_k == 1) {
      for (int64_t key = lo; key < hi; ++key) {
        to[key] += row[key - strip.base];
      }
      return;
    }
    for (int64_t key = lo; key < hi; ++key) {
      to[key * out.stride_k] += row[key - strip.base];
    }
  }
};

// ALiBi slopes: sums by row tile.
struct SlopeCollector {
  HeadSums* sums;

  TaskKey key_of(const BackwardWave&, const TileBlock& pair) const {
    return {static_cast<int64_t>(pair.tile), 0, 0, 0};
  }

  void add(const TileBlock& pair, const ScoreStrip& strip, const BackwardBuffers& buffers) const {
    const F32 d;
    const I32 di;
    const core::Sequence& sequence = strip.unit->sequence;
    HWY_ALIGN int32_t positions[kStripLanes] = {};
    HWY_ALIGN float row_sums[kStripLanes];
    const int64_t first_row = strip.tile->first_row + strip.lane_begin;
    for (int64_t lane = 0; lane < strip.live_lanes(); ++lane) {
      positions[lane] = static_cast<int32_t>(strip.unit->query_of(first_row + lane) +
                                             sequence.k_len - sequence.q_len);
    }
    for (int64_t lane = 0; lane < strip.num_lanes; lane += kLanes) {
      const auto position = hn::Load(di, positions + lane);
      Vec sum = hn::Zero(d);
      for (int64_t key = strip.key_lo; key < strip.key_hi; ++key) {
        const auto offset = hn::Sub(position, hn::Set(di, static_cast<int32_t>(key)));
        const Vec dx = hn::Load(d, strip.at(buffers.gradients, key, strip.lane_begin + lane));
        sum = hn::MulAdd(dx, hn::Abs(hn::ConvertTo(d, offset)), sum);
      }
      hn::Store(sum, d, row_sums + lane);
    }
    double* of_heads = sums->of_tile(pair.tile);
    for (int64_t lane = 0; lane < strip.live_lanes(); ++lane) {
      of_heads[(first_row + lane) % strip.unit->group] -= double{row_sums[lane]};
    }
  }
};

// Captured tensors of the score program: a slot takes every kTensorSlots-th row tile.
struct TensorCollector {
  TensorSums* sums;

  TaskKey key_of(const BackwardWave&, const TileBlock& pair) const {
    return {slot_of(pair), 0, 0, 0};
  }
  void add(const TileBlock& pair, const ScoreStrip& strip, const BackwardBuffers& buffers) const {
    if (strip.key_lo < strip.key_hi) {
      add_tensor_gradients(strip, buffers.programs.raw, buffers.gradients, slot_of(pair), *sums,
                           buffers.programs.memory);
    }
  }

 private:
  static int slot_of(const TileBlock& pair) {
    return static_cast<int>(pair.tile % static_cast<size_t>(kTensorSlots));
  }
};

// All of the above that the call asks for, over the pairs of one wave. A later wave adds to what
// this one wrote.
inline void collect_score_gradients(BackwardWave& wave) {
  if (wave.call->tensors->d_bias.data != nullptr) {
    BiasCollector collector{wave.call->tensors->d_bias};
    collect_with(wave, collector);
  }
  if (wave.slope_sums.is_wanted()) {
    SlopeCollector collector{&wave.slope_sums};
    collect_with(wave, collector);
    wave.slope_sums.finish(*wave.units, wave.parts);
  }
  if (wave.tensor_sums.is_asked()) {
    TensorCollector collector{&wave.tensor_sums};
    collect_with(wave, collector);
  }
}

// Zero in every element: what collectors add to.
inline void clear_bias_gradient(const Problem& problem, const BiasGradient& out) {
  if (out.data == nullptr) {
    return;
  }
  const int64_t batch = out.stride_batch != 0 ? problem.q.batch : 1;
  const int64_t heads = out.stride_head != 0 ? problem.q.heads : 1;
  const int64_t queries = out.stride_q != 0 ? problem.q.seq : 1;
  const int64_t keys = out.stride_k != 0 ? problem.k.seq : 1;
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t q = 0; q < queries; ++q) {
        float* row = out.data + b * out.stride_batch + h * out.stride_head + q * out.stride_q;
        for (int64_t k = 0; k < keys; ++k) {
          row[k * out.stride_k] = 0.0f;
        }
      }
    }
  }
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
