// The register tile every product of the CPU engine runs on: C[rows, lanes] from A, read one
// element at a time and broadcast, and B, read as whole vectors from a packed strip.
//
// Registers  AVX-512 12 x 32: 24 accumulators + 2 of B + 1 broadcast = 27 of 32; per step of depth
//            14 loads feed 24 FMAs. AVX2 6 x 16: 12 + 2 + 1 = 15 of 16, 8 loads feed 12 FMAs.
// Strips     B is cut into strips of kStripLanes columns (the last one of a single vector where
//            that suffices), each stored [depth, strip lanes] without gaps, padded with zeros.
#if defined(REGARD_CPU_REGISTER_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_REGISTER_TILE_INL_H_
#undef REGARD_CPU_REGISTER_TILE_INL_H_
#else
#define REGARD_CPU_REGISTER_TILE_INL_H_
#endif

#include <algorithm>
#include <cstddef>

#include "cpu/exp2-inl.h"
#include "cpu/tile_plan.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

inline constexpr size_t kLanes = hn::MaxLanes(F32());
inline constexpr size_t kStripLanes = 2 * kLanes;
// Rows of A in one register tile; 12 needs more than 16 vector registers.
inline constexpr int kTileRows = HWY_MAX_BYTES >= 64 || HWY_ARCH_ARM ? 12 : 6;
static_assert(kBlockQ % kTileRows == 0 && kBlockK % kTileRows == 0 && kBlockQ % kStripLanes == 0);

constexpr size_t num_strips(size_t extent) { return (extent + kStripLanes - 1) / kStripLanes; }
// Vectors in strip `strip` of `extent` columns: 2, or 1 in a last strip that fits into one.
constexpr int strip_vectors(size_t extent, size_t strip) {
  return extent - strip * kStripLanes <= kLanes ? 1 : 2;
}
constexpr size_t padded(size_t extent) { return (extent + kLanes - 1) / kLanes * kLanes; }
constexpr size_t whole_tile_rows(size_t rows) {
  return (rows + kTileRows - 1) / kTileRows * kTileRows;
}

// How the rows and the depth of A lie in memory, in floats.
struct PanelA {  // [depth][kTileRows]
  static constexpr size_t kRow = 1, kDepth = kTileRows;
};
struct RowsOfScores {  // rows are keys of a [key][kBlockQ] tile, depth runs along its rows
  static constexpr size_t kRow = kBlockQ, kDepth = 1;
};
struct ColumnsOfScores {  // rows are the tile's query rows, depth runs along keys
  static constexpr size_t kRow = 1, kDepth = kBlockQ;
};

enum class Output { set, add, scale_add };

// c[r][lane] = A B (set), += A B (add), or c * row_scale[r] + A B (scale_add) for kRows rows.
template <class A, int kRows, int kVectors, Output kOutput>
HWY_NOINLINE void register_tile(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b,
                                size_t depth, float* HWY_RESTRICT c, size_t c_stride,
                                const float* HWY_RESTRICT row_scale) {
  const F32 d;
  Vec acc[kRows][kVectors];
  REGARD_UNROLL
  for (int r = 0; r < kRows; ++r) {
    REGARD_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      acc[r][v] = hn::Zero(d);
    }
  }
  for (size_t k = 0; k < depth; ++k) {
    Vec columns[kVectors];
    REGARD_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      columns[v] = hn::Load(d, b + v * kLanes);
    }
    REGARD_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Vec row = hn::Set(d, a[r * A::kRow]);
      REGARD_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        acc[r][v] = hn::MulAdd(row, columns[v], acc[r][v]);
      }
    }
    a += A::kDepth;
    b += kVectors * kLanes;
  }
  REGARD_UNROLL
  for (int r = 0; r < kRows; ++r) {
    REGARD_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      float* to = c + r * c_stride + v * kLanes;
      if constexpr (kOutput == Output::add) {
        acc[r][v] = hn::Add(acc[r][v], hn::Load(d, to));
      } else if constexpr (kOutput == Output::scale_add) {
        acc[r][v] = hn::MulAdd(hn::Load(d, to), hn::Set(d, row_scale[r]), acc[r][v]);
      }
      hn::Store(acc[r][v], d, to);
    }
  }
}

// The same for 1 .. kTileRows rows. Fewer rows run a smaller tile that may compute up to a quarter
// tile of rows past `rows`: A and C must have room for whole_tile_rows.
template <class A, int kVectors, Output kOutput>
HWY_INLINE void register_tile_rows(size_t rows, const float* a, const float* b, size_t depth,
                                   float* c, size_t c_stride, const float* row_scale) {
  constexpr int kHalf = kTileRows / 2;
  constexpr int kQuarter = kTileRows / 4;
  if (rows > kHalf) {
    register_tile<A, kTileRows, kVectors, kOutput>(a, b, depth, c, c_stride, row_scale);
  } else if (rows > kQuarter) {
    register_tile<A, kHalf, kVectors, kOutput>(a, b, depth, c, c_stride, row_scale);
  } else {
    register_tile<A, kQuarter, kVectors, kOutput>(a, b, depth, c, c_stride, row_scale);
  }
}

// Depth [lo, hi) that one group of kTileRows rows of A needs.
struct DepthRange {
  size_t lo = 0, hi = 0;
};

// B of a product over a tile: strips of `depth` rows each, of which row `begin` is depth 0 of A.
struct StripsB {
  const float* data;
  size_t depth;
  size_t begin;
};

// C[rows, extent] from A and the strips of B; `ranges` holds one DepthRange for every kTileRows
// rows. C has stride padded(extent) and, like A, room for whole_tile_rows(rows).
template <class A, Output kOutput>
void multiply_strips(size_t rows, const float* a, const StripsB& b, const DepthRange* ranges,
                     size_t extent, float* c, const float* row_scale) {
  const size_t c_stride = padded(extent);
  for (size_t strip = 0; strip < num_strips(extent); ++strip) {
    const float* b_strip = b.data + strip * kStripLanes * b.depth;
    const int vectors = strip_vectors(extent, strip);
    const size_t width = vectors * kLanes;
    for (size_t row = 0; row < rows; row += kTileRows) {
      const DepthRange range = ranges[row / kTileRows];
      const size_t live_rows = std::min<size_t>(kTileRows, rows - row);
      const float* a_rows = a + row * A::kRow + range.lo * A::kDepth;
      const float* b_rows = b_strip + (b.begin + range.lo) * width;
      float* c_rows = c + row * c_stride + strip * kStripLanes;
      const float* scales = row_scale == nullptr ? nullptr : row_scale + row;
      if (vectors == 2) {
        register_tile_rows<A, 2, kOutput>(live_rows, a_rows, b_rows, range.hi - range.lo, c_rows,
                                          c_stride, scales);
      } else {
        register_tile_rows<A, 1, kOutput>(live_rows, a_rows, b_rows, range.hi - range.lo, c_rows,
                                          c_stride, scales);
      }
    }
  }
}

// Scores of keys [lo, hi) for one strip of rows: scores[key][lane] = sum over depth of
// panels[key][depth] * strip[depth][lane]. `panels` are the PanelA of key 0, `scores` is row 0;
// computes whole groups of kTileRows keys, so up to kTileRows - 1 rows before lo and after hi - 1
// are written too.
inline void multiply_scores(const float* panels, size_t depth, size_t lo, size_t hi,
                            const float* strip, int vectors, float* scores) {
  for (size_t key = lo / kTileRows * kTileRows; key < hi; key += kTileRows) {
    const float* panel = panels + key * depth;
    float* to = scores + key * kBlockQ;
    if (vectors == 2) {
      register_tile<PanelA, kTileRows, 2, Output::set>(panel, strip, depth, to, kBlockQ, nullptr);
    } else {
      register_tile<PanelA, kTileRows, 1, Output::set>(panel, strip, depth, to, kBlockQ, nullptr);
    }
  }
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
