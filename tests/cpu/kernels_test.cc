// The pieces the CPU kernels are made of, on every target: exp2, tanh, packing, register tiles.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "core/dtype.h"
#include "cpu/cpu_attention.h"
#include "cpu/highway_targets.h"
#include "cpu/scratch.h"
#include "cpu/target.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/cpu/kernels_test.cc"
#include "hwy/foreach_target.h"  // must come before highway.h

#include "cpu/pack-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// y[i] = f(x[i]) for a whole number of vectors.
void exp2_values(const float* x, float* y, size_t count) {
  for (size_t i = 0; i < count; i += kLanes) {
    hn::StoreU(exp2_of(hn::LoadU(F32(), x + i)), F32(), y + i);
  }
}
void tanh_values(const float* x, float* y, size_t count) {
  for (size_t i = 0; i < count; i += kLanes) {
    hn::StoreU(tanh_of(hn::LoadU(F32(), x + i)), F32(), y + i);
  }
}

std::vector<float> random_floats(size_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) {
    value = normal(random);
  }
  return values;
}

// Largest difference between C += A^T B through multiply_strips and plain loops, A as columns of a
// score tile, for `rows` x `extent` over depth [lo, hi); C past `rows` and `extent` is not judged.
double product_error(size_t rows, size_t extent, size_t lo, size_t hi) {
  std::mt19937 random(5);
  const size_t depth = kBlockK;
  const Scratch a(kBlockQ * depth);
  const Scratch strips(depth * padded(extent));
  const Scratch c(kBlockQ * padded(extent));
  const std::vector<float> a_values = random_floats(kBlockQ * depth, random);
  const std::vector<float> b_values = random_floats(depth * extent, random);
  std::copy(a_values.begin(), a_values.end(), a.data());
  std::fill_n(c.data(), kBlockQ * padded(extent), 0.5f);
  for (size_t k = 0; k < depth; ++k) {
    scatter_to_strips(b_values.data() + k * extent, extent, k, depth, strips.data());
  }
  std::vector<DepthRange> ranges(kBlockQ / kTileRows, DepthRange{lo, hi});
  multiply_strips<ColumnsOfScores, Output::add>(rows, a.data(), {strips.data(), depth, 0},
                                                ranges.data(), extent, c.data(), nullptr);
  double largest = 0;
  for (size_t r = 0; r < rows; ++r) {
    for (size_t e = 0; e < extent; ++e) {
      double sum = 0.5;
      for (size_t k = lo; k < hi; ++k) {
        sum += double{a_values[k * kBlockQ + r]} * double{b_values[k * extent + e]};
      }
      largest = std::max(largest, std::abs(sum - double{c.data()[r * padded(extent) + e]}));
    }
  }
  return largest;
}

// Whether interleave() transposes count rows of dim floats and fills the other lanes with zeros.
bool transposes(size_t count, size_t dim, size_t width) {
  std::vector<float> rows(width * dim, std::numeric_limits<float>::quiet_NaN());
  for (size_t i = 0; i < count * dim; ++i) {
    rows[i] = static_cast<float>(i + 1);
  }
  std::vector<float> panel(width * dim, -1.0f);
  interleave(rows.data(), count, dim, width, panel.data());
  for (size_t lane = 0; lane < width; ++lane) {
    for (size_t i = 0; i < dim; ++i) {
      const float expected = lane < count ? static_cast<float>(lane * dim + i + 1) : 0.0f;
      if (panel[i * width + lane] != expected) {
        return false;
      }
    }
  }
  return true;
}
size_t panel_rows() { return kTileRows; }

void load_values(const View* view, float* to) { load_row(*view, 0, 1.0f, to); }

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regard::cpu {
namespace {

HWY_EXPORT(exp2_values);
HWY_EXPORT(tanh_values);
HWY_EXPORT(product_error);
HWY_EXPORT(transposes);
HWY_EXPORT(panel_rows);
HWY_EXPORT(load_values);

// One run of each test a target.
class Kernels : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    force_target(GetParam());
    ASSERT_EQ(active_target(), GetParam());
  }
  void TearDown() override { force_target(""); }
};

std::vector<float> evenly_spaced(float from, float to, size_t count) {
  std::vector<float> x(count);
  for (size_t i = 0; i < count; ++i) {
    x[i] = from + (to - from) * static_cast<float>(i) / static_cast<float>(count - 1);
  }
  return x;
}

TEST_P(Kernels, Exp2_OverItsRange_IsAccurate) {
  for (const float range : {0.75f, 8.0f, 126.0f}) {
    const std::vector<float> x = evenly_spaced(-range, std::min(range, 120.0f), 1 << 16);
    std::vector<float> y(x.size());
    HWY_DYNAMIC_DISPATCH(exp2_values)(x.data(), y.data(), x.size());
    double largest = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = std::exp2(double{x[i]});
      largest = std::max(largest, std::abs(y[i] / exact - 1));
    }
    EXPECT_LT(largest, 2.5e-7) << "range " << range;
  }
}

TEST_P(Kernels, Exp2_AtSpecialValues_IsExact) {
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> x(16, 0.0f);
  x[1] = -infinity;
  x[2] = -126.5f;
  x[3] = std::numeric_limits<float>::quiet_NaN();
  x[4] = -1e30f;
  x[5] = 3.0f;
  std::vector<float> y(x.size());
  HWY_DYNAMIC_DISPATCH(exp2_values)(x.data(), y.data(), x.size());
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], 0.0f);
  EXPECT_EQ(y[2], 0.0f);
  EXPECT_TRUE(std::isnan(y[3]));
  EXPECT_EQ(y[4], 0.0f);
  EXPECT_EQ(y[5], 8.0f);
}

TEST_P(Kernels, Tanh_OverItsRange_IsAccurate) {
  for (const float range : {0.01f, 0.5f, 12.0f}) {
    const std::vector<float> x = evenly_spaced(-range, range, 1 << 14);
    std::vector<float> y(x.size());
    HWY_DYNAMIC_DISPATCH(tanh_values)(x.data(), y.data(), x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = std::tanh(double{x[i]});
      ASSERT_NEAR(y[i], exact, 5e-7 * std::abs(exact)) << x[i];
    }
  }
}

TEST_P(Kernels, RegisterTile_AtEveryEdge_EqualsPlainLoops) {
  for (const size_t rows : {1, 3, 4, 6, 7, 12, 13, 96}) {
    for (const size_t extent : {1, 7, 8, 15, 16, 17, 33, 64}) {
      const double full = HWY_DYNAMIC_DISPATCH(product_error)(rows, extent, 0, kBlockK);
      const double part = HWY_DYNAMIC_DISPATCH(product_error)(rows, extent, 5, 18);
      const double none = HWY_DYNAMIC_DISPATCH(product_error)(rows, extent, 9, 9);
      // 192 products of size ~1: random walk of roundings at 2^-24 of sums up to ~60.
      EXPECT_LT(full, 5e-5) << rows << " x " << extent;
      EXPECT_LT(part, 1e-5) << rows << " x " << extent;
      EXPECT_EQ(none, 0.0) << rows << " x " << extent;
    }
  }
}

TEST_P(Kernels, Interleave_AtEveryEdge_TransposesAndPads) {
  const size_t width = HWY_DYNAMIC_DISPATCH(panel_rows)();
  for (size_t count = 1; count <= width; ++count) {
    for (const size_t dim : {1, 2, 3, 4, 5, 8, 13, 64}) {
      EXPECT_TRUE(HWY_DYNAMIC_DISPATCH(transposes)(count, dim, width)) << count << " x " << dim;
    }
  }
}

TEST_P(Kernels, LoadRow_OfEvery16BitValue_GivesTheBitsOfCore) {
  std::vector<uint16_t> all(1 << 16);
  for (size_t i = 0; i < all.size(); ++i) {
    all[i] = static_cast<uint16_t>(i);
  }
  for (const DType dtype : {DType::bf16, DType::f16}) {
    View view;
    view.data = all.data();
    view.dtype = dtype;
    view.dim = static_cast<int64_t>(all.size());
    std::vector<float> got(all.size());
    HWY_DYNAMIC_DISPATCH(load_values)(&view, got.data());
    for (size_t i = 0; i < all.size(); ++i) {
      const float expected = core::load(all.data(), dtype, static_cast<int64_t>(i));
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(got[i])) << i;
      } else {
        ASSERT_EQ(core::bits_of(got[i]), core::bits_of(expected)) << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Kernels, testing::ValuesIn(available_targets()),
                         [](const auto& test_info) { return test_info.param; });

}  // namespace
}  // namespace regard::cpu
#endif
