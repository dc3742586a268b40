// Rows of keys and values where they lie, and the two products of a decode step over them.
#if defined(REGARD_CPU_DECODE_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_DECODE_ROWS_INL_H_
#undef REGARD_CPU_DECODE_ROWS_INL_H_
#else
#define REGARD_CPU_DECODE_ROWS_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "core/sequences.h"
#include "cpu/attn_decode_cpu.h"
#include "cpu/pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// Rows of a register tile: 4 x 4 accumulators need more than 16 vector registers.
inline constexpr int kDecodeTileRows = kTileRows == 12 ? 4 : 2;

// Only these convert f16 by an instruction that keeps infinity (Highway 1.0.3).
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
inline constexpr bool kHasF16Loads = true;
#else
inline constexpr bool kHasF16Loads = false;
#endif

struct LoadF32 {
  static HWY_INLINE Vec at(const void* row, size_t i) {
    return hn::LoadU(F32(), static_cast<const float*>(row) + i);
  }
};
struct LoadBf16 {
  static HWY_INLINE Vec at(const void* row, size_t i) {
    const hn::RebindToUnsigned<F32> du;
    const hn::Rebind<uint16_t, F32> d16;
    const auto bits = hn::LoadU(d16, static_cast<const uint16_t*>(row) + i);
    return hn::BitCast(F32(), hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
  }
};
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
struct LoadF16 {
  static HWY_INLINE Vec at(const void* row, size_t i) {
    const hn::Rebind<hwy::float16_t, F32> d16;
    return hn::PromoteTo(F32(), hn::LoadU(d16, static_cast<const hwy::float16_t*>(row) + i));
  }
};
#else
using LoadF16 = LoadF32;  // never called: f16 rows are widened there
#endif
// to[0, padded(dim)) = the row of `view` at element `offset`, as f32 times `factor`, zeros behind.
inline void widen_row(const View& view, int64_t offset, float factor, float* HWY_RESTRICT to) {
  const auto dim = static_cast<size_t>(view.dim);
  load_row(view, offset, factor, to);
  std::fill(to + dim, to + padded(dim), 0.0f);
}

// Rows of one block of keys, kDecodeKeys of them: past the block's end the last row again, whose
// scores nobody reads.
struct KeyRows {
  const void* row[kDecodeKeys];
  DType dtype;  // of what `row` points to
  int64_t count;
  size_t size;  // of a row, whole vectors
};

// Whether rows of `view` are read where they lie by the register tiles.
inline bool is_read_in_place(const View& view, int num_rows) {
  if (static_cast<size_t>(view.dim) % kLanes != 0 || view.dtype == DType::f8_e4m3) {
    return false;
  }
  if (view.dtype == DType::f32) {
    return true;
  }
  return num_rows <= kDecodeTileRows && (view.dtype == DType::bf16 || kHasF16Loads);
}

inline size_t staged_floats(const View& view) {
  return kDecodeKeys * padded(static_cast<size_t>(view.dim));
}

inline KeyRows key_rows(const Problem& problem, const Unit& unit, const core::KeyInterval& block,
                        const View& view, int num_rows, float* staged) {
  KeyRows rows;
  const bool is_in_place = is_read_in_place(view, num_rows);
  rows.dtype = is_in_place ? view.dtype : DType::f32;
  rows.count = block.hi - block.lo;
  rows.size = padded(static_cast<size_t>(view.dim));
  const int64_t element = core::bytes_of(view.dtype);
  const auto* data = static_cast<const char*>(view.data);
  for (int64_t key = block.lo; key < block.hi;) {
    const core::KeyPlace place = core::key_place(problem, unit.sequence, key);
    const int64_t end =
        core::is_paged(problem) ? std::min(block.hi, key + view.seq - place.seq) : block.hi;
    int64_t offset = core::row_offset(view, place.batch, place.seq, unit.kv_head);
    for (; key < end; ++key, offset += view.stride_seq) {
      const int64_t i = key - block.lo;
      rows.row[i] = data + offset * element;
      if (!is_in_place) {
        float* to = staged + static_cast<size_t>(i) * rows.size;
        widen_row(view, offset, 1.0f, to);
        rows.row[i] = to;
      }
    }
  }
  std::fill(rows.row + rows.count, rows.row + kDecodeKeys, rows.row[rows.count - 1]);
  return rows;
}

#if HWY_TARGET == HWY_SCALAR
// Sums over lanes of four vectors.
HWY_INLINE void store_sums(Vec a, Vec b, Vec c, Vec e, float* to) {
  to[0] = hn::GetLane(a);
  to[1] = hn::GetLane(b);
  to[2] = hn::GetLane(c);
  to[3] = hn::GetLane(e);
}
#else
template <class D, class V>
HWY_INLINE void store_block_sum(D d, V v, float* to) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    hn::StoreU(v, d, to);
  } else {
    const hn::Half<D> half;
    store_block_sum(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)), to);
  }
}

// Sums over lanes of four vectors: a 4 x 4 transposition in every 128 bits with the additions in
// between, 9 operations instead of 4 x 4, then the 128-bit blocks.
HWY_INLINE void store_sums(Vec a, Vec b, Vec c, Vec e, float* to) {
  const F32 d;
  const Vec ac = hn::Add(hn::InterleaveLower(d, a, c), hn::InterleaveUpper(d, a, c));
  const Vec be = hn::Add(hn::InterleaveLower(d, b, e), hn::InterleaveUpper(d, b, e));
  store_block_sum(d, hn::Add(hn::InterleaveLower(d, ac, be), hn::InterleaveUpper(d, ac, be)), to);
}
#endif

// scores[r][key] = q[r] . row[key] for kRows rows and all keys of the block.
template <class Load, int kRows>
HWY_NOINLINE void score_tile(const KeyRows& keys, const float* HWY_RESTRICT q,
                             float* HWY_RESTRICT scores) {
  const F32 d;
  for (int64_t key = 0; key < keys.count; key += 4) {
    const void* const* row = keys.row + key;
    Vec acc[kRows][4];
    REGARD_UNROLL
    for (int r = 0; r < kRows; ++r) {
      acc[r][0] = acc[r][1] = acc[r][2] = acc[r][3] = hn::Zero(d);
    }
    for (size_t i = 0; i < keys.size; i += kLanes) {
      const Vec k0 = Load::at(row[0], i), k1 = Load::at(row[1], i);
      const Vec k2 = Load::at(row[2], i), k3 = Load::at(row[3], i);
      REGARD_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const Vec query = hn::Load(d, q + static_cast<size_t>(r) * keys.size + i);
        acc[r][0] = hn::MulAdd(query, k0, acc[r][0]);
        acc[r][1] = hn::MulAdd(query, k1, acc[r][1]);
        acc[r][2] = hn::MulAdd(query, k2, acc[r][2]);
        acc[r][3] = hn::MulAdd(query, k3, acc[r][3]);
      }
    }
    REGARD_UNROLL
    for (int r = 0; r < kRows; ++r) {
      store_sums(acc[r][0], acc[r][1], acc[r][2], acc[r][3], scores + r * kDecodeKeys + key);
    }
  }
}

// o[r][i .. i + kVectors) += sum over keys of p[r][key] * row[key]. Where `kHasMasked`, a weight of
// 0 leaves its value out, whatever it is.
template <class Load, int kRows, int kVectors, bool kHasMasked>
HWY_NOINLINE void value_tile(const KeyRows& values, const float* HWY_RESTRICT p, size_t i,
                             float* HWY_RESTRICT o) {
  const F32 d;
  Vec acc[kRows][kVectors];
  REGARD_UNROLL
  for (int r = 0; r < kRows; ++r) {
    REGARD_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      acc[r][v] = hn::Load(d, o + static_cast<size_t>(r) * values.size + i + v * kLanes);
    }
  }
  for (int64_t key = 0; key < values.count; ++key) {
    Vec row[kVectors];
    REGARD_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      row[v] = Load::at(values.row[key], i + v * kLanes);
    }
    REGARD_UNROLL
    for (int r = 0; r < kRows; ++r) {
      if (kHasMasked && p[r * kDecodeKeys + key] == 0.0f) {
        continue;
      }
      const Vec weight = hn::Set(d, p[r * kDecodeKeys + key]);
      REGARD_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        acc[r][v] = hn::MulAdd(weight, row[v], acc[r][v]);
      }
    }
  }
  REGARD_UNROLL
  for (int r = 0; r < kRows; ++r) {
    REGARD_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      hn::Store(acc[r][v], d, o + static_cast<size_t>(r) * values.size + i + v * kLanes);
    }
  }
}

// All vectors of O for kRows rows.
template <class Load, int kRows>
HWY_INLINE void value_tiles(const KeyRows& values, const float* p, bool has_masked, float* o) {
  size_t i = 0;
  for (; i + 4 * kLanes <= values.size; i += 4 * kLanes) {
    if (has_masked) {
      value_tile<Load, kRows, 4, true>(values, p, i, o);
    } else {
      value_tile<Load, kRows, 4, false>(values, p, i, o);
    }
  }
  for (; i < values.size; i += kLanes) {
    if (has_masked) {
      value_tile<Load, kRows, 1, true>(values, p, i, o);
    } else {
      value_tile<Load, kRows, 1, false>(values, p, i, o);
    }
  }
}

// Calls visit(first row, rows of the tile as a constant) for tiles of up to kDecodeTileRows rows.
template <class Visit>
HWY_INLINE void for_each_row_tile(int num_rows, const Visit& visit) {
  for (int row = 0; row < num_rows; row += kDecodeTileRows) {
    switch (std::min(kDecodeTileRows, num_rows - row)) {
      case 1:
        visit(row, std::integral_constant<int, 1>());
        break;
      case 2:
        visit(row, std::integral_constant<int, 2>());
        break;
      case 3:
        visit(row, std::integral_constant<int, std::min(3, kDecodeTileRows)>());
        break;
      default:
        visit(row, std::integral_constant<int, kDecodeTileRows>());
    }
  }
}

template <class Load>
void multiply_keys_of(const KeyRows& keys, const float* q, int num_rows, float* scores) {
  for_each_row_tile(num_rows, [&](int row, auto rows) {
    score_tile<Load, decltype(rows)::value>(keys, q + static_cast<size_t>(row) * keys.size,
                                            scores + row * kDecodeKeys);
  });
}

template <class Load>
void add_values_of(const KeyRows& values, const float* p, int num_rows, bool has_masked, float* o) {
  for_each_row_tile(num_rows, [&](int row, auto rows) {
    value_tiles<Load, decltype(rows)::value>(values, p + row * kDecodeKeys, has_masked,
                                             o + static_cast<size_t>(row) * values.size);
  });
}

// scores[row][key] of all rows.
inline void multiply_keys(const KeyRows& keys, const float* q, int num_rows, float* scores) {
  switch (keys.dtype) {
    case DType::bf16:
      return multiply_keys_of<LoadBf16>(keys, q, num_rows, scores);
    case DType::f16:
      return multiply_keys_of<LoadF16>(keys, q, num_rows, scores);
    default:
      return multiply_keys_of<LoadF32>(keys, q, num_rows, scores);
  }
}

// o[row] += sum over keys of p[row][key] * values.
inline void add_values(const KeyRows& values, const float* p, int num_rows, bool has_masked,
                       float* o) {
  switch (values.dtype) {
    case DType::bf16:
      return add_values_of<LoadBf16>(values, p, num_rows, has_masked, o);
    case DType::f16:
      return add_values_of<LoadF16>(values, p, num_rows, has_masked, o);
    default:
      return add_values_of<LoadF32>(values, p, num_rows, has_masked, o);
  }
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
