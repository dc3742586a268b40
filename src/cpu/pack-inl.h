// Reading operands as f32 and laying them out for the register tile; writing results back.
#if defined(REGARD_CPU_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_PACK_INL_H_
#undef REGARD_CPU_PACK_INL_H_
#else
#define REGARD_CPU_PACK_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "core/dtype.h"
#include "cpu/register_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// f32 of every e4m3 value.
struct E4m3Table {
  float value[256];
  constexpr E4m3Table() : value() {
    for (int bits = 0; bits < 256; ++bits) {
      value[bits] = core::f32_from_e4m3(static_cast<uint8_t>(bits));
    }
  }
};
inline constexpr E4m3Table kF32FromE4m3;

// to[0, dim) = the row of `view` at element `offset`, as f32 times `factor`. Reads exactly dim
// elements: the row may end at the end of a page.
inline void load_row(const View& view, int64_t offset, float factor, float* HWY_RESTRICT to) {
  const auto dim = static_cast<size_t>(view.dim);
  if (view.dtype == DType::f32) {
    const float* HWY_RESTRICT from = static_cast<const float*>(view.data) + offset;
    if (factor == 1.0f) {  // packs K and V 1.4 times as fast as products by 1
      std::copy_n(from, dim, to);
      return;
    }
    for (size_t i = 0; i < dim; ++i) {
      to[i] = from[i] * factor;
    }
  } else if (view.dtype == DType::bf16) {
    const uint16_t* HWY_RESTRICT from = static_cast<const uint16_t*>(view.data) + offset;
    for (size_t i = 0; i < dim; ++i) {
      to[i] = core::f32_from_bf16(from[i]) * factor;
    }
  } else if (view.dtype == DType::f8_e4m3) {
    const uint8_t* HWY_RESTRICT from = static_cast<const uint8_t*>(view.data) + offset;
    for (size_t i = 0; i < dim; ++i) {
      to[i] = kF32FromE4m3.value[from[i]] * factor;
    }
  } else {
    size_t i = 0;
// The emulations of the other targets turn infinity into 65536 (Highway 1.0.3).
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
    const auto* from = static_cast<const hwy::float16_t*>(view.data) + offset;
    const F32 d;
    const hn::Rebind<hwy::float16_t, F32> dh;
    for (; i + kLanes <= dim; i += kLanes) {
      const Vec row = hn::PromoteTo(d, hn::LoadU(dh, from + i));
      hn::StoreU(hn::Mul(row, hn::Set(d, factor)), d, to + i);
    }
#endif
    for (; i < dim; ++i) {
      to[i] = core::load(view.data, DType::f16, offset + static_cast<int64_t>(i)) * factor;
    }
  }
}

// The row of `view` at element `offset` = from[0, dim) * factor, rounded to nearest even.
inline void store_row(const View& view, int64_t offset, float factor,
                      const float* HWY_RESTRICT from) {
  const auto dim = static_cast<size_t>(view.dim);
  if (view.dtype == DType::f32) {
    float* HWY_RESTRICT to = static_cast<float*>(view.data) + offset;
    for (size_t i = 0; i < dim; ++i) {
      to[i] = from[i] * factor;
    }
  } else if (view.dtype == DType::bf16) {
    uint16_t* HWY_RESTRICT to = static_cast<uint16_t*>(view.data) + offset;
    for (size_t i = 0; i < dim; ++i) {
      to[i] = core::bf16_from_f32(from[i] * factor);
    }
  } else {
    uint16_t* HWY_RESTRICT to = static_cast<uint16_t*>(view.data) + offset;
    for (size_t i = 0; i < dim; ++i) {
      to[i] = core::f16_from_f32(from[i] * factor);
    }
  }
}

// Rows that `rows` buffers of the functions below hold.
inline constexpr size_t kPackRows = std::max<size_t>(kStripLanes, kTileRows);

// panel[i .. i+3][lane .. lane+3] = rows[lane .. lane+3][i .. i+3] transposed, in two rounds of
// interleaves: 8 shuffles for 16 floats where single stores would take 16.
HWY_INLINE void transpose_4x4(const float* HWY_RESTRICT rows, size_t row_stride, size_t width,
                              float* HWY_RESTRICT panel) {
#if HWY_TARGET == HWY_SCALAR  // has no shuffles
  for (size_t lane = 0; lane < 4; ++lane) {
    for (size_t i = 0; i < 4; ++i) {
      panel[i * width + lane] = rows[lane * row_stride + i];
    }
  }
#else
  const hn::CappedTag<float, 4> d;
  const auto row0 = hn::LoadU(d, rows);
  const auto row1 = hn::LoadU(d, rows + row_stride);
  const auto row2 = hn::LoadU(d, rows + 2 * row_stride);
  const auto row3 = hn::LoadU(d, rows + 3 * row_stride);
  const auto lower02 = hn::InterleaveLower(d, row0, row2);
  const auto lower13 = hn::InterleaveLower(d, row1, row3);
  const auto upper02 = hn::InterleaveUpper(d, row0, row2);
  const auto upper13 = hn::InterleaveUpper(d, row1, row3);
  hn::StoreU(hn::InterleaveLower(d, lower02, lower13), d, panel);
  hn::StoreU(hn::InterleaveUpper(d, lower02, lower13), d, panel + width);
  hn::StoreU(hn::InterleaveLower(d, upper02, upper13), d, panel + 2 * width);
  hn::StoreU(hn::InterleaveUpper(d, upper02, upper13), d, panel + 3 * width);
#endif
}

// panel[i][lane] = rows[lane][i] for `count` rows of `dim` floats; rows from `count` to `width` are
// set to zero first, in place.
inline void interleave(float* HWY_RESTRICT rows, size_t count, size_t dim, size_t width,
                       float* HWY_RESTRICT panel) {
  std::fill_n(rows + count * dim, (width - count) * dim, 0.0f);
  const size_t whole_dim = dim / 4 * 4;
  const size_t whole_width = width / 4 * 4;
  for (size_t lane = 0; lane < whole_width; lane += 4) {
    for (size_t i = 0; i < whole_dim; i += 4) {
      transpose_4x4(rows + lane * dim + i, dim, width, panel + i * width + lane);
    }
  }
  for (size_t lane = 0; lane < width; ++lane) {
    for (size_t i = lane < whole_width ? whole_dim : 0; i < dim; ++i) {
      panel[i * width + lane] = rows[lane * dim + i];
    }
  }
}

// Spreads row `row` (dim floats at `from`) over strips of `depth` rows, zeros up to padded(dim).
inline void scatter_to_strips(const float* HWY_RESTRICT from, size_t dim, size_t row, size_t depth,
                              float* HWY_RESTRICT strips) {
  for (size_t strip = 0; strip < num_strips(dim); ++strip) {
    const size_t width = strip_vectors(dim, strip) * kLanes;
    const size_t begin = strip * kStripLanes;
    const size_t live = std::min(width, dim - begin);
    float* to = strips + begin * depth + row * width;
    size_t i = 0;
    for (; i + kLanes <= live; i += kLanes) {
      hn::StoreU(hn::LoadU(F32(), from + begin + i), F32(), to + i);
    }
    for (; i < width; ++i) {
      to[i] = i < live ? from[begin + i] : 0.0f;
    }
  }
}

// The same row = 0.
inline void clear_in_strips(size_t dim, size_t row, size_t depth, float* HWY_RESTRICT strips) {
  for (size_t strip = 0; strip < num_strips(dim); ++strip) {
    const size_t width = strip_vectors(dim, strip) * kLanes;
    std::fill_n(strips + strip * kStripLanes * depth + row * width, width, 0.0f);
  }
}

// Sum of a[i] * b[i], in an order that depends on dim only.
inline float dot(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, size_t dim) {
  const F32 d;
  Vec sum = hn::Zero(d);
  size_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    sum = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sum);
  }
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < dim; ++i) {
    total += a[i] * b[i];
  }
  return total;
}

// Whether no element is infinite or NaN: 0 * x is NaN for those. Four sums, because one would wait
// for the adder's latency at every vector.
inline bool is_finite(const float* HWY_RESTRICT from, size_t count) {
  const F32 d;
  const Vec zero = hn::Zero(d);
  Vec sum0 = zero, sum1 = zero, sum2 = zero, sum3 = zero;
  size_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    sum0 = hn::MulAdd(hn::LoadU(d, from + i), zero, sum0);
    sum1 = hn::MulAdd(hn::LoadU(d, from + i + kLanes), zero, sum1);
    sum2 = hn::MulAdd(hn::LoadU(d, from + i + 2 * kLanes), zero, sum2);
    sum3 = hn::MulAdd(hn::LoadU(d, from + i + 3 * kLanes), zero, sum3);
  }
  bool finite = hn::AllTrue(d, hn::Eq(hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3)), zero));
  for (; i < count; ++i) {
    finite = finite && from[i] * 0.0f == 0.0f;
  }
  return finite;
}

// What strips hold of a row with an infinity or NaN. A product multiplies whole strips, also by the
// weight 0 of a pair that is masked, and 0 * NaN is NaN.
enum class NonFinite { keep, as_zero };

// Rows first .. first + count of strips of `depth` rows, from `count` neighbouring rows of `dim`
// floats. Returns whether a row was replaced by zeros.
inline bool rows_to_strips(const float* rows, size_t count, size_t dim, NonFinite non_finite,
                           size_t first, size_t depth, float* strips) {
  const bool has_zeroed = non_finite == NonFinite::as_zero && !is_finite(rows, count * dim);
  for (size_t i = 0; i < count; ++i) {
    if (has_zeroed && !is_finite(rows + i * dim, dim)) {
      clear_in_strips(dim, first + i, depth, strips);
    } else {
      scatter_to_strips(rows + i * dim, dim, first + i, depth, strips);
    }
  }
  return has_zeroed;
}

// Keys [begin, end) of one key/value head of `view` (k or v of the problem) times `factor`: as
// PanelA (`panels`, [key group][dim][kTileRows], keys past `end` zero) and as B strips of `depth`
// keys (`strips`); either may be null. `begin` is a multiple of kTileRows. `rows` holds kPackRows *
// dim floats. Returns whether strips hold zeros for a row that is not finite.
inline bool pack_keys(const Problem& problem, const View& view, const Unit& unit, size_t begin,
                      size_t end, float* rows, float* panels, float* strips, size_t depth,
                      float factor = 1.0f, NonFinite non_finite = NonFinite::keep) {
  const auto dim = static_cast<size_t>(view.dim);
  bool has_zeroed = false;
  for (size_t group = begin; group < end; group += kTileRows) {
    const size_t count = std::min<size_t>(kTileRows, end - group);
    for (size_t i = 0; i < count; ++i) {
      const core::KeyPlace place =
          core::key_place(problem, unit.sequence, static_cast<int64_t>(group + i));
      load_row(view, core::row_offset(view, place.batch, place.seq, unit.kv_head), factor,
               rows + i * dim);
    }
    if (strips != nullptr) {
      has_zeroed |= rows_to_strips(rows, count, dim, non_finite, group, depth, strips);
    }
    if (panels != nullptr) {
      interleave(rows, count, dim, kTileRows, panels + group * dim);
    }
  }
  return has_zeroed;
}

// Element offset of merged row `row` of `unit` in a view with query heads.
inline int64_t query_row_offset(const View& view, const Unit& unit, int64_t row) {
  return core::row_offset(view, unit.sequence.batch, unit.sequence.q_begin + unit.query_of(row),
                          unit.head_of(row));
}

// Rows of a tile times `factor` as B strips over rows: panel[strip][dim][lanes of the strip], rows
// past the tile's end zero. `rows` holds kPackRows * dim floats.
inline void pack_query_strips(const View& view, const Unit& unit, const RowTile& tile, float factor,
                              float* rows, float* strips) {
  const auto dim = static_cast<size_t>(view.dim);
  const auto num_rows = static_cast<size_t>(tile.num_rows);
  for (size_t strip = 0; strip < num_strips(num_rows); ++strip) {
    const size_t begin = strip * kStripLanes;
    const size_t width = strip_vectors(num_rows, strip) * kLanes;
    const size_t count = std::min(width, num_rows - begin);
    for (size_t i = 0; i < count; ++i) {
      const int64_t row = tile.first_row + static_cast<int64_t>(begin + i);
      load_row(view, query_row_offset(view, unit, row), factor, rows + i * dim);
    }
    interleave(rows, count, dim, width, strips + begin * dim);
  }
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
