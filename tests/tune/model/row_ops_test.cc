// The two other ways to do what the SIMD row kernels do: LibTorch's operations, which run here on
// the CPU too, and the GPU kernels' own text on the emulator of a thread block.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/gpu/emulator/emulator.h"
#include "tests/tune/model/model_fixture.h"
#include "tune/model/device_rows.h"
#include "tune/model/nf4.h"
#include "tune/model/row_kernels.cuh"
#include "tune/model/row_ops.h"

namespace tune {
namespace {

using regard::testing::MemoryRange;
using rows::RowConfig;

constexpr int64_t kRows = 70, kWidth = 48, kHeadDim = 16;

torch::Tensor wave(std::vector<int64_t> shape, double frequency, torch::Dtype dtype) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return (torch::arange(count, torch::kFloat64) * frequency).sin().mul(2).view(shape).to(dtype);
}

// One rounding of the storage type: sums may be taken in another order before it.
double tolerance(torch::Dtype dtype) { return dtype == torch::kBFloat16 ? 0x1p-8 : 4e-6; }

void expect_close(const char* name, const torch::Tensor& found, const torch::Tensor& expected) {
  ASSERT_EQ(found.scalar_type(), expected.scalar_type()) << name;
  const torch::Tensor a = found.to(torch::kFloat64), b = expected.to(torch::kFloat64);
  const double largest = b.abs().max().item<double>();
  EXPECT_LE(largest_difference(a, b), tolerance(expected.scalar_type()) * std::max(largest, 1e-3))
      << name;
}

MemoryRange memory_of(const torch::Tensor& tensor, bool is_writable) {
  return {tensor.data_ptr(), static_cast<size_t>(tensor.nbytes()), is_writable};
}

// Everything the ops read, in one dtype.
struct Inputs {
  explicit Inputs(torch::Dtype type) : dtype(type) {}

  torch::Dtype dtype;
  torch::Tensor h = wave({kRows, kWidth}, 0.7, dtype), delta = wave({kRows, kWidth}, 1.3, dtype);
  torch::Tensor d_normed = wave({kRows, kWidth}, 0.41, dtype);
  torch::Tensor weight = wave({kWidth}, 0.3, torch::kFloat32);
  torch::Tensor cos = wave({kRows, kHeadDim / 2}, 0.11, torch::kFloat32);
  torch::Tensor sin = wave({kRows, kHeadDim / 2}, 0.17, torch::kFloat32);
  torch::Tensor targets = torch::arange(kRows, torch::kInt64).mul(7).remainder(kWidth);
  rows::DropoutKey key = rows::dropout_key(42, 3);
};

class RowOps : public ::testing::TestWithParam<torch::Dtype> {
 protected:
  const Inputs in{GetParam()};
};

TEST_P(RowOps, NormByTorch_IsThatOfTheSimdKernels) {
  for (const torch::Tensor& delta : {in.delta, torch::Tensor()}) {
    const auto expected = ops::norm_rows(in.h, delta, in.weight, 1e-5);
    const auto found = ops::device::norm_rows(in.h, delta, in.weight, 1e-5);
    expect_close("sum", found.sum, expected.sum);
    expect_close("normed", found.normed, expected.normed);
    expect_close("rstd", found.rstd, expected.rstd);
    const auto gradients =
        ops::norm_rows_backward(in.d_normed, delta, expected.sum, in.weight, expected.rstd, true);
    const auto again = ops::device::norm_rows_backward(in.d_normed, delta, expected.sum, in.weight,
                                                       expected.rstd, true);
    expect_close("dx", again.dx, gradients.dx);
    expect_close("d_weight", again.d_weight, gradients.d_weight);
  }
}

TEST_P(RowOps, SwigluAndRotateByTorch_AreThoseOfTheSimdKernels) {
  expect_close("act", ops::device::swiglu_rows(in.h, in.delta), ops::swiglu_rows(in.h, in.delta));
  const auto expected = ops::swiglu_rows_backward(in.d_normed, in.h, in.delta);
  const auto found = ops::device::swiglu_rows_backward(in.d_normed, in.h, in.delta);
  expect_close("d_gate", found.d_gate, expected.d_gate);
  expect_close("d_up", found.d_up, expected.d_up);
  const torch::Tensor turned = torch::empty_like(in.h), there = in.h.clone();
  ops::rotate_rows(in.h, turned, in.cos, in.sin, kHeadDim, -1.0f);
  ops::device::rotate_rows(there, there, in.cos, in.sin, kHeadDim, -1.0f);  // in place
  expect_close("rotated", there, turned);
}

TEST_P(RowOps, CrossEntropyByTorch_IsThatOfTheSimdKernels) {
  const torch::Tensor simd = in.h.clone(), by_torch = in.h.clone();
  const torch::Tensor losses = ops::cross_entropy_rows(simd, in.targets, true);
  expect_close("losses", ops::device::cross_entropy_rows(by_torch, in.targets, true), losses);
  expect_close("gradient", by_torch, simd);
  ops::device::cross_entropy_rows(by_torch, in.targets, false);
  expect_close("untouched", by_torch, simd);
}

TEST_P(RowOps, DropoutByTorch_DrawsTheSameMask) {
  for (const bool accumulates : {false, true}) {
    const torch::Tensor simd = in.delta.clone(), by_torch = in.delta.clone();
    ops::dropout_rows(in.h, simd, in.key, 0.3, accumulates);
    ops::device::dropout_rows(in.h, by_torch, in.key, 0.3, accumulates);
    expect_close("dropped", by_torch, simd);
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, RowOps, ::testing::Values(torch::kFloat32, torch::kBFloat16));

// A kernel's text for both element types and steps.
template <class Params>
struct Kernels {
  void (*f32[2])(const Params&);
  void (*bf16[2])(const Params&);
};
#define KERNELS(name, Params)                                             \
  Kernels<rows::Params> {                                                 \
    {rows::name<RowConfig{false, 1}>, rows::name<RowConfig{false, 8}>},   \
        {rows::name<RowConfig{true, 1}>, rows::name<RowConfig{true, 8}>}, \
  }

struct EmulatedCase {
  torch::Dtype dtype;
  int step;
};
void PrintTo(const EmulatedCase& value, std::ostream* out) {
  *out << (value.dtype == torch::kBFloat16 ? "bf16" : "f32") << ", step " << value.step;
}

class RowKernelsEmulated : public ::testing::TestWithParam<EmulatedCase> {
 protected:
  const Inputs in{GetParam().dtype};

  template <class Params>
  void run(const Kernels<Params>& kernels, const Params& params, int blocks_x, int threads,
           const std::vector<torch::Tensor>& read, const std::vector<torch::Tensor>& written,
           int blocks_y = 1) const {
    const auto& by_step = in.dtype == torch::kBFloat16 ? kernels.bf16 : kernels.f32;
    const auto kernel = by_step[GetParam().step == 8 ? 1 : 0];
    std::vector<MemoryRange> memory;
    for (const torch::Tensor& tensor : read) memory.push_back(memory_of(tensor, false));
    for (const torch::Tensor& tensor : written) memory.push_back(memory_of(tensor, true));
    regard::testing::Launch launch;
    launch.grid_x = blocks_x;
    launch.grid_y = blocks_y;
    launch.num_threads = threads;
    launch.memory = memory;
    ASSERT_EQ(regard::testing::emulate(launch, [&](unsigned short*) { kernel(params); }), "");
  }
  static int row_blocks() { return (kRows + rows::kRowsPerBlock - 1) / rows::kRowsPerBlock; }
  static int piece_blocks(int64_t count) {
    const int64_t size = int64_t{rows::kThreads} * GetParam().step;
    return static_cast<int>((count + size - 1) / size);
  }
};

TEST_P(RowKernelsEmulated, Norm_IsThatOfTheSimdKernels) {
  const auto expected = ops::norm_rows(in.h, in.delta, in.weight, 1e-5);
  const torch::Tensor sum = torch::empty_like(in.h), normed = torch::empty_like(in.h),
                      rstd = torch::empty({kRows});
  const rows::NormParams params{kRows,
                                kWidth,
                                in.h.data_ptr(),
                                in.delta.data_ptr(),
                                in.weight.data_ptr<float>(),
                                sum.data_ptr(),
                                normed.data_ptr(),
                                rstd.data_ptr<float>(),
                                1e-5f};
  run(KERNELS(add_rms_norm, NormParams), params, row_blocks(), 128, {in.h, in.delta, in.weight},
      {sum, normed, rstd});
  expect_close("sum", sum, expected.sum);
  expect_close("normed", normed, expected.normed);
  expect_close("rstd", rstd, expected.rstd);
}

TEST_P(RowKernelsEmulated, NormBackward_IsThatOfTheSimdKernels) {
  const auto forward = ops::norm_rows(in.h, in.delta, in.weight, 1e-5);
  const auto expected =
      ops::norm_rows_backward(in.d_normed, in.delta, forward.sum, in.weight, forward.rstd, true);
  const torch::Tensor dx = torch::empty_like(in.h);
  const rows::NormBackwardParams params{kRows,
                                        kWidth,
                                        in.d_normed.data_ptr(),
                                        in.delta.data_ptr(),
                                        forward.sum.data_ptr(),
                                        in.weight.data_ptr<float>(),
                                        forward.rstd.data_ptr<float>(),
                                        dx.data_ptr()};
  run(KERNELS(rms_norm_backward, NormBackwardParams), params, row_blocks(), 128,
      {in.d_normed, in.delta, forward.sum, in.weight, forward.rstd}, {dx});
  expect_close("dx", dx, expected.dx);
  const torch::Tensor partials = torch::empty({2, kWidth});
  const rows::NormWeightParams weight_params{kRows,
                                             kWidth,
                                             64,
                                             in.d_normed.data_ptr(),
                                             forward.sum.data_ptr(),
                                             forward.rstd.data_ptr<float>(),
                                             partials.data_ptr<float>()};
  run(KERNELS(norm_weight_gradient, NormWeightParams), weight_params, 1, 256,
      {in.d_normed, forward.sum, forward.rstd}, {partials}, 2);
  expect_close("d_weight", partials.sum(0), expected.d_weight);
}

TEST_P(RowKernelsEmulated, Swiglu_IsThatOfTheSimdKernels) {
  const torch::Tensor act = torch::empty_like(in.h), d_gate = torch::empty_like(in.h),
                      d_up = torch::empty_like(in.h);
  const rows::SwigluParams params{in.h.numel(),        in.d_normed.data_ptr(), in.h.data_ptr(),
                                  in.delta.data_ptr(), act.data_ptr(),         d_gate.data_ptr(),
                                  d_up.data_ptr()};
  const int blocks = piece_blocks(in.h.numel());
  run(KERNELS(swiglu, SwigluParams), params, blocks, 256, {in.h, in.delta}, {act});
  run(KERNELS(swiglu_backward, SwigluParams), params, blocks, 256, {in.h, in.delta, in.d_normed},
      {d_gate, d_up});
  const auto expected = ops::swiglu_rows_backward(in.d_normed, in.h, in.delta);
  expect_close("act", act, ops::swiglu_rows(in.h, in.delta));
  expect_close("d_gate", d_gate, expected.d_gate);
  expect_close("d_up", d_up, expected.d_up);
}

TEST_P(RowKernelsEmulated, Rotate_IsThatOfTheSimdKernelsInPlaceToo) {
  const torch::Tensor expected = torch::empty_like(in.h), found = in.h.clone();
  ops::rotate_rows(in.h, expected, in.cos, in.sin, kHeadDim, -1.0f);
  const rows::RotateParams params{kRows,
                                  kWidth,
                                  kHeadDim,
                                  found.data_ptr(),
                                  found.data_ptr(),
                                  in.cos.data_ptr<float>(),
                                  in.sin.data_ptr<float>(),
                                  -1.0f};
  run(KERNELS(rotate, RotateParams), params, piece_blocks(in.h.numel() / 2), 256, {in.cos, in.sin},
      {found});
  expect_close("rotated", found, expected);
}

TEST_P(RowKernelsEmulated, CrossEntropy_IsThatOfTheSimdKernels) {
  const torch::Tensor expected = in.h.clone(), found = in.h.clone(), losses = torch::empty({kRows});
  const rows::CrossEntropyParams params{
      kRows,
      kWidth,
      found.data_ptr(),
      reinterpret_cast<const long long*>(in.targets.data_ptr<int64_t>()),
      losses.data_ptr<float>(),
      true};
  run(KERNELS(cross_entropy, CrossEntropyParams), params, row_blocks(), 128, {in.targets},
      {found, losses});
  expect_close("losses", losses, ops::cross_entropy_rows(expected, in.targets, true));
  expect_close("gradient", found, expected);
}

TEST_P(RowKernelsEmulated, Dropout_DrawsTheSameMask) {
  const torch::Tensor expected = in.delta.clone(), found = in.delta.clone();
  ops::dropout_rows(in.h, expected, in.key, 0.3, true);
  const float rate = 0.3f;
  const rows::DropoutParams params{
      in.h.numel(),         in.h.data_ptr(),
      found.data_ptr(),     in.key.low,
      in.key.high,          static_cast<unsigned>(static_cast<double>(rate) * 4294967296.0),
      1.0f / (1.0f - rate), true};
  run(KERNELS(dropout, DropoutParams), params, piece_blocks(in.h.numel()), 256, {in.h}, {found});
  expect_close("dropped", found, expected);
}

TEST_P(RowKernelsEmulated, Nf4_GivesTheSimdValues) {
  const Nf4Weight weight = quantize_nf4(wave({kRows, kWidth}, 0.37, torch::kFloat32));
  const torch::Tensor tables = nf4_tables(torch::kCPU);
  const torch::Tensor found = torch::empty({kRows, kWidth}, in.dtype);
  const rows::Nf4Params params{found.numel(),
                               weight.codes.data_ptr<uint8_t>(),
                               weight.maxima.data_ptr<uint8_t>(),
                               weight.nested_scales.data_ptr<float>(),
                               tables.data_ptr<float>(),
                               found.data_ptr(),
                               weight.offset};
  run(KERNELS(expand_nf4, Nf4Params), params, piece_blocks(found.numel()), 256,
      {weight.codes, weight.maxima, weight.nested_scales, tables}, {found});
  EXPECT_TRUE(torch::equal(found, dequantize_nf4(weight, in.dtype)));
  Nf4Weight moved = weight;
  moved.tables = tables;
  EXPECT_TRUE(torch::equal(ops::device::expand_nf4(moved, in.dtype), found));
}

INSTANTIATE_TEST_SUITE_P(Configs, RowKernelsEmulated,
                         ::testing::Values(EmulatedCase{torch::kFloat32, 1},
                                           EmulatedCase{torch::kFloat32, 8},
                                           EmulatedCase{torch::kBFloat16, 1},
                                           EmulatedCase{torch::kBFloat16, 8}));

// The GPU's optimizer, by LibTorch and by the kernel's text, one update each from the same state.
TEST(AdamWRows, KernelAndTorch_GiveTheSameUpdate) {
  const rows::AdamWScalars scalars{0.5f, 0.999f, 0.1f, 0.99f, 0.01f, 0.02f, 0.7f, 1e-8f};
  const torch::Tensor gradient = wave({kRows}, 0.3, torch::kFloat32);
  std::vector<torch::Tensor> state, expected;
  for (const double frequency : {0.9, 0.2, 0.1}) {
    state.push_back(wave({kRows}, frequency, torch::kFloat32).abs());
    expected.push_back(state.back().clone());
  }
  ops::device::adamw(expected[0], gradient, expected[1], expected[2], scalars);
  const rows::AdamWParams params{kRows,
                                 state[0].data_ptr<float>(),
                                 gradient.data_ptr<float>(),
                                 state[1].data_ptr<float>(),
                                 state[2].data_ptr<float>(),
                                 scalars};
  regard::testing::Launch launch;
  launch.num_threads = 256;
  launch.memory = {memory_of(gradient, false), memory_of(state[0], true), memory_of(state[1], true),
                   memory_of(state[2], true)};
  ASSERT_EQ(regard::testing::emulate(launch,
                                     [&](unsigned short*) {
                                       rows::adamw<RowConfig{false, 1}>(params);
                                     }),
            "");
  for (size_t i = 0; i < state.size(); ++i) expect_close("state", state[i], expected[i]);
}

}  // namespace
}  // namespace tune
