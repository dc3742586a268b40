// Reading operands as f32 and laying them out for the register tile; writing results back.
#if defined(REGARD_CPU_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_PACK_INL_H_
#undef REGARD_CPU_PACK_INL_H_
#else
#define REGARD_CPU_PACK_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "core/dtype.h"
#include "cpu/register_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// to[0, dim) = the row of `view` at element `offset`, as f32 times `factor`. Reads exactly dim
// elements: the row may end at the end of a page.
inline void load_row(const View& view, int64_t offset, float factor, float* HWY_RESTRICT to) {
  const auto dim = static_cast<size_t>(view.dim);
  if (view.dtype == DType::f32) {
    const float* HWY_RESTRICT from = static_cast<const float*>(view.data) + offset;
    for (size_t i = 0; i < dim; ++i) {
      to[i] = from[i] * factor;
    }
  } else if (view.dtype == DType::bf16) {
    const uint16_t* HWY_RESTRICT from = static_cast<const uint16_t*>(view.data) + offset;
    for (size_t i = 0; i < dim; ++i) {
      to[i] = core::f32_from_bf16(from[i]) * factor;
    }
  } else {
    const auto* from = static_cast<const hwy::float16_t*>(view.data) + offset;
    const F32 d;
    const hn::Rebind<hwy::float16_t, F32> dh;
    size_t i = 0;
    for (; i + kLanes <= dim; i += kLanes) {
      const Vec row = hn::PromoteTo(d, hn::LoadU(dh, from + i));
      hn::StoreU(hn::Mul(row, hn::Set(d, factor)), d, to + i);
    }
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

// panel[d][lane] = rows[lane][d] for `count` rows of `dim` floats, lanes up to `width` zero.
inline void interleave(const float* HWY_RESTRICT rows, size_t count, size_t dim, size_t width,
                       float* HWY_RESTRICT panel) {
  for (size_t lane = 0; lane < count; ++lane) {
    for (size_t i = 0; i < dim; ++i) {
      panel[i * width + lane] = rows[lane * dim + i];
    }
  }
  for (size_t lane = count; lane < width; ++lane) {
    for (size_t i = 0; i < dim; ++i) {
      panel[i * width + lane] = 0.0f;
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
    std::memcpy(to, from + begin, live * sizeof(float));
    std::memset(to + live, 0, (width - live) * sizeof(float));
  }
}

// Keys [begin, end) of one key/value head: as PanelA (`panels`, [key group][dim][kTileRows], keys
// past `end` zero) and as B strips of `depth` keys (`strips`); either may be null. `begin` is a
// multiple of kTileRows. `rows` holds kTileRows * dim floats.
inline void pack_keys(const View& view, const Unit& unit, size_t begin, size_t end, float* rows,
                      float* panels, float* strips, size_t depth) {
  const auto dim = static_cast<size_t>(view.dim);
  for (size_t group = begin; group < end; group += kTileRows) {
    const size_t count = std::min<size_t>(kTileRows, end - group);
    for (size_t i = 0; i < count; ++i) {
      const int64_t key = unit.sequence.k_begin + static_cast<int64_t>(group + i);
      load_row(view, core::row_offset(view, unit.sequence.batch, key, unit.kv_head), 1.0f,
               rows + i * dim);
      if (strips != nullptr) {
        scatter_to_strips(rows + i * dim, dim, group + i, depth, strips);
      }
    }
    if (panels != nullptr) {
      interleave(rows, count, dim, kTileRows, panels + group * dim);
    }
  }
}

// Element offset of merged row `row` of `unit` in a view with query heads.
inline int64_t query_row_offset(const View& view, const Unit& unit, int64_t row) {
  return core::row_offset(view, unit.sequence.batch, unit.sequence.q_begin + unit.query_of(row),
                          unit.head_of(row));
}

// Rows of a tile times `factor` as B strips over rows: panel[strip][dim][lanes of the strip], rows
// past the tile's end zero. `rows` holds kStripLanes * dim floats.
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
