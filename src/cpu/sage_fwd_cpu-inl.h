// sage_fwd_cpu: attention forward from int8 scores (SageAttention) for CPUs, tiled, SIMD over rows.
// Math     S = q^ k'^ with q^ = q8 * q_scale, k'^ = k8 * k_scale; O = round(P) V^ / l as the exact
//          kernel, P = exp(S - m), l the sum of unrounded P; LSE = m + log l + scale * q . mean(K).
// Shapes   as attn_fwd_cpu.
// Tiling   as attn_fwd_cpu: 96 merged rows by 192 keys, scores transposed [key, row]. Only the
//          product Q K^T is another: int32 sums of pairs of int16 (one instruction where the CPU
//          has AVX-512 VNNI, two elsewhere), converted once a tile with the two scales.
// Memory   int8 Q and K and their scales for the whole call (SageOperands); per unit K as panels of
//          pairs and V^ as f32 strips; per thread Q strips of pairs and the buffers of the exact
//          kernel.
// Numerics int32 sums are exact; everything after the scores is f32. int8 values are those of
//          core/int8_groups.h, bit for bit those of the reference.
// Limits   see why_unsupported_sage().
// Source   Zhang et al. 2024 (arXiv 2410.02367, 2411.10958); own layout.
#if defined(REGARD_CPU_SAGE_FWD_CPU_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_SAGE_FWD_CPU_INL_H_
#undef REGARD_CPU_SAGE_FWD_CPU_INL_H_
#else
#define REGARD_CPU_SAGE_FWD_CPU_INL_H_
#endif

#include "cpu/attn_fwd_cpu-inl.h"
#include "cpu/sage_fwd_cpu.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// A step of depth: two int16 in one 32-bit word.
inline int32_t word_of_pair(const int8_t* pair) {
  return static_cast<int32_t>(
      (static_cast<uint32_t>(static_cast<uint16_t>(int16_t{pair[1]})) << 16) |
      static_cast<uint16_t>(int16_t{pair[0]}));
}
inline size_t words_of(int64_t dim) { return padded_int8(dim) / 2; }

// panel[word][row] for `count` int8 rows, zeros up to `width` rows. row(i) is a pointer.
template <class Row>
void interleave_words(size_t count, size_t width, size_t num_words, const Row& row,
                      int32_t* panel) {
  for (size_t r = 0; r < width; ++r) {
    const int8_t* from = r < count ? row(r) : nullptr;
    for (size_t word = 0; word < num_words; ++word) {
      panel[word * width + r] = from == nullptr ? 0 : word_of_pair(from + 2 * word);
    }
  }
}

// Packed keys and values of one unit.
struct SageKeys {
  int32_t* panels;  // [key group][word][kTileRows]
  float* scales;    // by key
  float* value_strips;

  static size_t floats(const Problem& problem, const Unit& unit) {
    const size_t keys = whole_tile_rows(static_cast<size_t>(unit.sequence.k_len));
    return whole_lines(keys * words_of(problem.k.dim)) + whole_lines(keys) +
           packed_values_floats(unit, static_cast<size_t>(problem.v.dim));
  }
  SageKeys(const Problem& problem, const Unit& unit, float* memory) {
    const size_t keys = whole_tile_rows(static_cast<size_t>(unit.sequence.k_len));
    panels = reinterpret_cast<int32_t*>(memory);
    scales = memory + whole_lines(keys * words_of(problem.k.dim));
    value_strips = scales + whole_lines(keys);
  }
};

// Keys and values [begin, end) of a unit; `begin` is a multiple of kTileRows.
inline void pack_sage_keys(const Problem& problem, const Unit& unit, const SageUnit& from,
                           size_t begin, size_t end, float* row, const SageKeys& to) {
  const size_t num_words = words_of(problem.k.dim);
  const size_t stride = padded_int8(problem.k.dim);
  for (size_t group = begin; group < end; group += kTileRows) {
    const size_t count = std::min<size_t>(kTileRows, end - group);
    interleave_words(
        count, kTileRows, num_words, [&](size_t i) { return from.keys + (group + i) * stride; },
        to.panels + group * num_words);
    for (size_t i = 0; i < kTileRows; ++i) {
      const auto key = static_cast<int64_t>(group + i);
      to.scales[group + i] = i < count ? from.key_scale(problem.quantization.groups, key) : 0.0f;
    }
  }
  const auto value_dim = static_cast<size_t>(problem.v.dim);
  const core::Sequence& sequence = unit.sequence;
  for (size_t key = begin; key < end; ++key) {
    load_row(problem.v,
             core::row_offset(problem.v, sequence.batch,
                              sequence.k_begin + static_cast<int64_t>(key), unit.kv_head),
             1.0f, row);
    for (size_t d = 0; d < value_dim; ++d) {
      row[d] = core::rounded_value(problem.quantization.values, row[d], from.value_scales[d]);
    }
    scatter_to_strips(row, value_dim, key, static_cast<size_t>(sequence.k_len), to.value_strips);
  }
}

// One row tile's queries.
struct SageQueries {
  int32_t* strips;  // [strip][word][lanes]
  float* scales;    // by row, times what turns scores into units of log2
  float* shifts;    // by row: what is added to scores, in the same units; zeros where nothing is

  static size_t floats(const Problem& problem) {
    return whole_lines(kBlockQ * words_of(problem.q.dim)) + 2 * kBlockQ;
  }
  SageQueries(const Problem& problem, float* memory) {
    strips = reinterpret_cast<int32_t*>(memory);
    scales = memory + whole_lines(kBlockQ * words_of(problem.q.dim));
    shifts = scales + kBlockQ;
  }
};

inline void pack_sage_queries(const Problem& problem, const Unit& unit, const SageUnit& from,
                              const RowTile& tile, const SageQueries& to) {
  const size_t num_words = words_of(problem.q.dim);
  const size_t stride = padded_int8(problem.q.dim);
  const auto num_rows = static_cast<size_t>(tile.num_rows);
  const float factor = query_factor(problem);
  for (size_t strip = 0; strip < num_strips(num_rows); ++strip) {
    const size_t begin = strip * kStripLanes;
    const size_t width = strip_vectors(num_rows, strip) * kLanes;
    interleave_words(
        std::min(width, num_rows - begin), width, num_words,
        [&](size_t i) {
          return from.queries + (static_cast<size_t>(tile.first_row) + begin + i) * stride;
        },
        to.strips + begin * num_words);
  }
  for (int64_t row = 0; row < kBlockQ; ++row) {
    const int64_t merged = tile.first_row + row;
    const bool is_live = row < tile.num_rows;
    to.scales[row] =
        is_live ? from.query_scale(problem.quantization.groups, unit, merged) * factor : 0.0f;
    to.shifts[row] = is_live && needs_shifted_scores(problem) ? from.shifts[merged] * factor : 0.0f;
  }
}

// Whether one instruction multiplies pairs and adds them to a sum (AVX-512 VNNI, vpdpwssd).
inline bool has_fused_pairs() {
#if HWY_TARGET == HWY_AVX3
  static const bool has_vnni = __builtin_cpu_supports("avx512vnni");
  return has_vnni;
#else
  return false;
#endif
}

// sum[i] + a pair of int16 times a pair of int16; `odd` is the second sum of targets that keep two.
template <bool kFused>
HWY_INLINE hn::Vec<I32> add_pairs(hn::Vec<I32> a, hn::Vec<I32> b, hn::Vec<I32> sum,
                                  hn::Vec<I32>& odd) {
  const I32 di;
#if HWY_TARGET == HWY_AVX3
  if constexpr (kFused) {  // as text: the target's own flags do not include VNNI
    asm("vpdpwssd %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
    return sum;
  }
#endif
#if HWY_TARGET == HWY_SCALAR  // has no pairs
  const auto x = static_cast<uint32_t>(hn::GetLane(a));
  const auto y = static_cast<uint32_t>(hn::GetLane(b));
  const int32_t low = static_cast<int16_t>(x) * static_cast<int16_t>(y);
  const int32_t high = static_cast<int16_t>(x >> 16) * static_cast<int16_t>(y >> 16);
  (void)odd;
  return hn::Add(sum, hn::Set(di, low + high));
#else
  const hn::Repartition<int16_t, I32> di16;
  return hn::ReorderWidenMulAccumulate(di, hn::BitCast(di16, a), hn::BitCast(di16, b), sum, odd);
#endif
}

HWY_INLINE hn::Vec<I32> sum_of_pairs(hn::Vec<I32> sum, hn::Vec<I32> odd) {
#if HWY_TARGET == HWY_SCALAR
  (void)odd;
  return sum;
#else
  return hn::RearrangeToOddPlusEven(sum, odd);
#endif
}

// scores[key][lane] = (sum over words of panel . strip) * key scale * row scale + row shift, for
// kTileRows keys.
template <int kVectors, bool kFused>
HWY_NOINLINE void int16_tile(const int32_t* HWY_RESTRICT panel, const int32_t* HWY_RESTRICT strip,
                             size_t num_words, const float* HWY_RESTRICT key_scales,
                             const float* HWY_RESTRICT row_scales,
                             const float* HWY_RESTRICT row_shifts, float* HWY_RESTRICT scores) {
  const F32 d;
  const I32 di;
  using VecI = hn::Vec<I32>;
  VecI acc[kTileRows][kVectors];
  VecI odd[kTileRows][kVectors];  // untouched, hence no registers, where one instruction adds pairs
  REGARD_UNROLL
  for (int r = 0; r < kTileRows; ++r) {
    REGARD_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      acc[r][v] = hn::Zero(di);
      odd[r][v] = hn::Zero(di);
    }
  }
  for (size_t word = 0; word < num_words; ++word) {
    VecI columns[kVectors];
    REGARD_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      columns[v] = hn::Load(di, strip + v * kLanes);
    }
    REGARD_UNROLL
    for (int r = 0; r < kTileRows; ++r) {
      const VecI row = hn::Set(di, panel[r]);
      REGARD_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        acc[r][v] = add_pairs<kFused>(row, columns[v], acc[r][v], odd[r][v]);
      }
    }
    panel += kTileRows;
    strip += kVectors * kLanes;
  }
  REGARD_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    const Vec row_scale = hn::Load(d, row_scales + v * kLanes);
    const Vec row_shift = hn::Load(d, row_shifts + v * kLanes);
    REGARD_UNROLL
    for (int r = 0; r < kTileRows; ++r) {
      const Vec scale = hn::Mul(row_scale, hn::Set(d, key_scales[r]));
      const VecI dots = sum_of_pairs(acc[r][v], odd[r][v]);
      hn::Store(hn::MulAdd(hn::ConvertTo(d, dots), scale, row_shift), d,
                scores + r * kBlockQ + v * kLanes);
    }
  }
}

// Scores of keys [lo, hi) of a key block for one strip of rows, as multiply_scores.
inline void multiply_int8_scores(const SageKeys& keys, const SageQueries& queries, size_t num_words,
                                 size_t base, size_t lo, size_t hi, size_t strip, int vectors,
                                 float* scores) {
  const size_t lane = strip * kStripLanes;
  auto* tile = vectors == 2 ? &int16_tile<2, false> : &int16_tile<1, false>;
  if (has_fused_pairs()) {
    tile = vectors == 2 ? &int16_tile<2, true> : &int16_tile<1, true>;
  }
  for (size_t key = lo / kTileRows * kTileRows; key < hi; key += kTileRows) {
    tile(keys.panels + (base + key) * num_words, queries.strips + lane * num_words, num_words,
         keys.scales + base + key, queries.scales + lane, queries.shifts + lane,
         scores + key * kBlockQ);
  }
}

// core::ShortFloat::rounded for vectors of weights in [0, format's largest].
HWY_INLINE Vec rounded_to(const core::ShortFloat& format, Vec x) {
  const F32 d;
  const I32 di;
  const int dropped = 23 - format.mantissa;
  const auto bits = hn::BitCast(di, x);
  const auto is_odd = hn::And(hn::ShiftRightSame(bits, dropped), hn::Set(di, 1));
  const auto half_below = hn::Set(di, (1 << (dropped - 1)) - 1);
  const auto normal =
      hn::And(hn::Add(hn::Add(bits, half_below), is_odd), hn::Set(di, -(1 << dropped)));
  const Vec smallest = hn::Set(d, format.smallest_normal);
  const Vec anchor = hn::Set(d, format.smallest_normal * static_cast<float>(1 << dropped));
  const Vec subnormal = hn::Sub(hn::Add(x, anchor), anchor);
  return hn::IfThenElse(hn::Lt(x, smallest), subnormal, hn::BitCast(d, normal));
}

// P of one strip in the format of P V. Its sum has been taken already.
inline void round_weights(const ScoreStrip& strip, ValueFormat format, float* scores) {
  const F32 d;
  const bool is_e4m3 = format == ValueFormat::f8_e4m3;
  const core::ShortFloat short_float = is_e4m3 ? core::kShortE4m3 : core::kShortF16;
  const Vec up = hn::Set(d, is_e4m3 ? core::kLargestE4m3 : 1.0f);
  const Vec down = hn::Set(d, is_e4m3 ? 1.0f / core::kLargestE4m3 : 1.0f);
  for (int64_t key = strip.key_lo; key < strip.key_hi; ++key) {
    for (int64_t lane = 0; lane < strip.num_lanes; lane += kLanes) {
      float* at = strip.at(scores, key, strip.lane_begin + lane);
      const Vec p = hn::Mul(hn::Load(d, at), up);
      hn::Store(hn::Mul(rounded_to(short_float, p), down), d, at);
    }
  }
}

// score_block of the exact kernel with int8 scores and rounded weights.
inline void sage_score_block(const Problem& problem, const Unit& unit, const RowTile& tile,
                             const KeyBlock& block, const SageKeys& keys,
                             const SageQueries& queries, const ForwardBuffers& buffers) {
  const size_t num_words = words_of(problem.q.dim);
  softmax_strips(
      problem, unit, tile, block, buffers,
      [&](const ScoreStrip& strip, size_t s, int vectors) {
        multiply_int8_scores(keys, queries, num_words, static_cast<size_t>(block.base),
                             static_cast<size_t>(strip.key_lo - block.base),
                             static_cast<size_t>(strip.key_hi - block.base), s, vectors,
                             buffers.scores + strip.lane_begin);
      },
      [&](const ScoreStrip& strip) {
        if (problem.quantization.values != ValueFormat::exact) {
          round_weights(strip, problem.quantization.values, buffers.scores);
        }
      });
}

// The LSE of the scores themselves: those of the tile were without q . mean.
inline void shift_lse(const Problem& problem, const LseView& lse, const Unit& unit,
                      const RowTile& tile, const float* shifts) {
  for (int64_t row = tile.first_row; row < tile.first_row + tile.num_rows; ++row) {
    float& value =
        lse.data[unit.sequence.batch * lse.stride_batch + unit.head_of(row) * lse.stride_head +
                 unit.sequence.q_begin + unit.query_of(row)];
    if (value != kMasked) {
      value += problem.scale * shifts[row];
    }
  }
}

inline void sage_forward_tile(const SageForwardCall& call, const Unit& unit, const SageUnit& from,
                              int64_t tile_idx, const SageKeys& keys, float* scratch) {
  const Problem& problem = *call.problem;
  const SageQueries queries(problem, scratch);
  const ForwardBuffers buffers(problem, scratch + SageQueries::floats(problem));
  const RowTile tile = row_tile_at(problem, unit, tile_idx);
  pack_sage_queries(problem, unit, from, tile, queries);
  start_rows(problem, unit, tile, buffers);
  for (int64_t b = tile.first_block(); b < tile.end_block(); ++b) {
    const KeyBlock block = key_block_at(tile, b);
    sage_score_block(problem, unit, tile, block, keys, queries, buffers);
    add_values(problem, unit, tile, block, keys.value_strips, buffers);
  }
  write_rows(*call.outputs, unit, tile, buffers);
  if (call.outputs->lse.data != nullptr && problem.quantization.smooth_k &&
      !needs_shifted_scores(problem)) {
    shift_lse(problem, call.outputs->lse, unit, tile, from.shifts);
  }
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
