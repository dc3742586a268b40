// sage_int8_tiles: P and dS of the tiled backward through int8, for an int8 backward (SageBwd).
// Math     x^ = int8(x / scale) * scale, scale = largest |x| / 127 of a tile of 128 queries by 64
//          keys of one query head, both counted from the sequence's first:
//          reference/int8_products.h.
// Shapes   tables by unit: [query head of its group][128 queries][64 keys].
// Tiling   the backward's row tiles hold 96 rows of all heads of a group, so that a scale needs
//          several of them: pairs of row tile and key block are computed once to find the largest
//          values, and again, by the same instructions, to round and multiply them.
// Memory   12 bytes a scale, 1 row sum a row; x^ replaces x in the score tiles.
// Numerics scales and int8 values are those of core/int8_groups.h; products of x^ are f32, exact
//          but for their sums. Row sums are those of dS before it is rounded.
// Limits   those of attn_bwd_cpu.
// Source   Zhang et al. 2025 (arXiv 2505.11594); own order.
#if defined(REGARD_CPU_SAGE_INT8_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_SAGE_INT8_TILES_INL_H_
#undef REGARD_CPU_SAGE_INT8_TILES_INL_H_
#else
#define REGARD_CPU_SAGE_INT8_TILES_INL_H_
#endif

#include <atomic>
#include <vector>

#include "core/int8_groups.h"
#include "cpu/attn_bwd_cpu-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// core::int8_of(x, scale) * scale.
HWY_INLINE Vec through_int8(Vec x, Vec scale) {
  const F32 d;
  const I32 di;
  const Vec magic = hn::Set(d, core::kInt8Magic);
  const auto rounded = hn::BitCast(di, hn::Add(hn::Div(x, scale), magic));
  const auto steps = hn::Sub(rounded, hn::BitCast(di, magic));
  const auto most = hn::Set(di, static_cast<int32_t>(core::kInt8Steps));
  return hn::Mul(hn::ConvertTo(d, hn::Max(hn::Min(steps, most), hn::Neg(most))), scale);
}

// Scales of one kind of value, by tile.
struct Int8Scales {
  std::vector<uint32_t> largest;  // bits of the magnitude
  std::vector<float> scales;

  void start(size_t num_tiles) { largest.assign(num_tiles, 0); }
  // Threads raise in any order: the largest is the same.
  void raise(size_t tile, uint32_t bits) {
    const std::atomic_ref<uint32_t> entry(largest[tile]);
    uint32_t seen = entry.load(std::memory_order_relaxed);
    while (seen < bits && !entry.compare_exchange_weak(seen, bits, std::memory_order_relaxed)) {
    }
  }
  void finish() {
    scales.resize(largest.size());
    for (size_t i = 0; i < largest.size(); ++i) {
      scales[i] = core::scale_of_group(largest[i], core::kInt8Steps);
    }
  }
};

// Of a wave's units.
class Int8Tiles {
 public:
  void start(const std::vector<Unit>& units, const Wave& range, size_t num_row_tiles) {
    first_.assign(units.size(), 0);
    size_t count = 0;
    for (size_t u = range.begin; u < range.end; ++u) {
      first_[u] = count;
      count += static_cast<size_t>(units[u].group * query_blocks(units[u]) * key_blocks(units[u]));
    }
    weights_.start(count);
    gradients_.start(count);
    row_sums_.assign(num_row_tiles * kBlockQ, 0.0f);
  }
  void finish_scales() {
    weights_.finish();
    gradients_.finish();
  }

  // Sums of the rows of dS of row tile `tile`, [kBlockQ].
  float* row_sums(size_t tile) { return row_sums_.data() + tile * kBlockQ; }
  const float* row_sums(size_t tile) const { return row_sums_.data() + tile * kBlockQ; }

  // Takes P and dS of a strip of unit `u` into scales and row sums.
  void measure(size_t u, const ScoreStrip& strip, const BackwardBuffers& buffers, float* row_sums) {
    for_parts(u, strip, [&](int64_t lane, int64_t lo, int64_t hi, const size_t* tiles) {
      raise_part(strip, buffers.weights, lane, lo, hi, tiles, weights_);
      raise_part(strip, buffers.gradients, lane, lo, hi, tiles, gradients_);
      const F32 d;
      float* sums = row_sums + strip.lane_begin + lane;
      Vec sum = hn::LoadU(d, sums);
      for (int64_t key = lo; key < hi; ++key) {
        sum = hn::Add(sum, hn::Load(d, strip.at(buffers.gradients, key, strip.lane_begin + lane)));
      }
      hn::StoreU(sum, d, sums);
    });
  }

  // P and dS of a strip through int8, in place.
  void round(size_t u, const ScoreStrip& strip, const BackwardBuffers& buffers) const {
    for_parts(u, strip, [&](int64_t lane, int64_t lo, int64_t hi, const size_t* tiles) {
      round_part(strip, buffers.weights, lane, lo, hi, tiles, weights_);
      round_part(strip, buffers.gradients, lane, lo, hi, tiles, gradients_);
    });
  }

 private:
  static int64_t query_blocks(const Unit& unit) {
    return (unit.sequence.q_len + core::kInt8TileQueries - 1) / core::kInt8TileQueries;
  }
  static int64_t key_blocks(const Unit& unit) {
    return (unit.sequence.k_len + core::kKeyBlock - 1) / core::kKeyBlock;
  }

  // Calls visit(lane, key_lo, key_hi, tiles) for each vector of lanes and tile of keys; tiles[i] is
  // that of lane + i, lanes past the tile's rows have that of its last row.
  template <class Visit>
  void for_parts(size_t u, const ScoreStrip& strip, const Visit& visit) const {
    const Unit& unit = *strip.unit;
    for (int64_t lane = 0; lane < strip.num_lanes; lane += kLanes) {
      for (int64_t lo = strip.key_lo; lo < strip.key_hi;) {
        const int64_t key_block = lo / core::kKeyBlock;
        const int64_t hi = std::min(strip.key_hi, (key_block + 1) * core::kKeyBlock);
        size_t tiles[kLanes];
        for (size_t i = 0; i < kLanes; ++i) {
          const int64_t in_strip = std::min(lane + static_cast<int64_t>(i), strip.live_lanes() - 1);
          const int64_t row = strip.tile->first_row + strip.lane_begin + in_strip;
          const int64_t query_block = unit.query_of(row) / core::kInt8TileQueries;
          tiles[i] = first_[u] +
                     static_cast<size_t>((row % unit.group * query_blocks(unit) + query_block) *
                                             key_blocks(unit) +
                                         key_block);
        }
        visit(lane, lo, hi, tiles);
        lo = hi;
      }
    }
  }

  // Lanes past the tile's rows do not count: dropout leaves anything in them.
  static void raise_part(const ScoreStrip& strip, float* values, int64_t lane, int64_t lo,
                         int64_t hi, const size_t* tiles, Int8Scales& scales) {
    const F32 d;
    const I32 di;
    auto largest = hn::Zero(di);
    for (int64_t key = lo; key < hi; ++key) {
      const Vec x = hn::Load(d, strip.at(values, key, strip.lane_begin + lane));
      largest = hn::Max(largest, hn::BitCast(di, hn::Abs(x)));
    }
    HWY_ALIGN int32_t bits[kLanes];
    hn::Store(largest, di, bits);
    const int64_t live = std::min<int64_t>(kLanes, strip.live_lanes() - lane);
    for (int64_t i = 0; i < live; ++i) {
      scales.raise(tiles[i], static_cast<uint32_t>(bits[i]));
    }
  }

  static void round_part(const ScoreStrip& strip, float* values, int64_t lane, int64_t lo,
                         int64_t hi, const size_t* tiles, const Int8Scales& scales) {
    const F32 d;
    HWY_ALIGN float of_lanes[kLanes];
    for (size_t i = 0; i < kLanes; ++i) {
      of_lanes[i] = scales.scales[tiles[i]];
    }
    const Vec scale = hn::Load(d, of_lanes);
    for (int64_t key = lo; key < hi; ++key) {
      float* at = strip.at(values, key, strip.lane_begin + lane);
      hn::Store(through_int8(hn::Load(d, at), scale), d, at);
    }
  }

  std::vector<size_t> first_;  // by unit: its first scale
  Int8Scales weights_, gradients_;
  std::vector<float> row_sums_;
};

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
