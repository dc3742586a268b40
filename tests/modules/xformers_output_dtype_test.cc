// memory_efficient_attention with an output of another dtype than its operands (output_dtype): what
// is computed in f32 is rounded once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/dtype.h"
#include "reference/attention.h"
#include "tests/modules/xformers_fixture.h"
#include "tests/support/attention_judge.h"

namespace regard::xformers {
namespace {

using regard::testing::AttentionCase;
using regard::testing::AttentionResults;
using regard::testing::CaseOperands;
using regard::testing::GuardedTensor;
using regard::testing::Layout;
using regard::testing::shape_of;
using ::testing::FloatNear;
using ::testing::HasSubstr;
using ::testing::Pointwise;

AttentionCase case_of(DType dtype) {
  return {.name = "output_dtype",
          .dtype = dtype,
          .batch = 2,
          .q_heads = 4,
          .kv_heads = 2,
          .sq = 21,
          .sk = 34,
          .d = 20,
          .dv = 12,
          .layout = Layout::sliced,
          .causal = Causal::lower_right,
          .seed = 7};
}

// A call on a case, everything it writes in guarded memory, outputs and their gradients in
// `output`.
struct OutputRun {
  OutputRun(const CaseOperands& operands, DType output, DType gradient)
      : o(output, shape_of(operands.d_o()), Layout::sliced),
        d_o(output, shape_of(operands.d_o()), Layout::bhsd),
        dq(gradient, shape_of(operands.problem().q), Layout::sliced),
        dk(gradient, shape_of(operands.problem().k), Layout::bhsd),
        dv(gradient, shape_of(operands.problem().v), Layout::bshd),
        lse(2, 4, 21) {
    d_o.fill(regard::testing::dense(operands.d_o()));
    arguments.q = operands.problem().q;
    arguments.k = operands.problem().k;
    arguments.v = operands.problem().v;
    arguments.attn_bias = &mask;
  }

  void run() {
    memory_efficient_attention_forward_requires_grad(arguments, o.view(), lse.view());
    memory_efficient_attention_backward(arguments, d_o.view(), o.view(), lse.view(),
                                        {.dq = dq.view(), .dk = dk.view(), .dv = dv.view()});
  }

  LowerTriangularFromBottomRightMask mask;
  GuardedTensor o, d_o, dq, dk, dv;
  regard::testing::GuardedLse lse;
  Arguments arguments;
};

TEST(XformersOutputDtype, FullPrecisionOf16BitOperands_IsTheReferences) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    SCOPED_TRACE(core::name_of(dtype));
    const CaseOperands operands(case_of(dtype));
    AttentionResults exact(operands);
    reference::forward(operands.problem(), exact.outputs());
    reference::backward(operands.problem(), exact.tensors(operands));
    OutputRun run(operands, DType::f32, DType::f32);
    run.run();
    EXPECT_THAT(run.o.dense(), Pointwise(FloatNear(2e-6f), exact.o.dense()));
    EXPECT_THAT(run.lse.dense(), Pointwise(FloatNear(4e-6f), exact.lse.dense()));
    EXPECT_THAT(run.dq.dense(), Pointwise(FloatNear(1e-5f), exact.dq.dense()));
    EXPECT_THAT(run.dk.dense(), Pointwise(FloatNear(1e-5f), exact.dk.dense()));
    EXPECT_THAT(run.dv.dense(), Pointwise(FloatNear(1e-5f), exact.dv.dense()));
    for (const GuardedTensor* tensor : {&run.o, &run.dq, &run.dk, &run.dv}) {
      EXPECT_TRUE(tensor->guards_intact());
    }
  }
}

std::vector<float> rounded(const std::vector<float>& values, DType dtype) {
  std::vector<float> result;
  for (const float value : values) {
    uint16_t bits;
    core::store(&bits, dtype, 0, value);
    result.push_back(core::load(&bits, dtype, 0));
  }
  return result;
}

TEST(XformersOutputDtype, NarrowOutputs_AreRoundedOnce) {
  for (const DType operand : {DType::f32, DType::bf16}) {
    const CaseOperands operands(case_of(operand));
    OutputRun wide(operands, DType::f32, DType::f32), narrow(operands, DType::f16, DType::bf16);
    wide.run();
    narrow.run();
    EXPECT_EQ(narrow.o.dense(), rounded(wide.o.dense(), DType::f16));
    EXPECT_EQ(narrow.lse.dense(), wide.lse.dense());
    // dV does not read O; d_o was rounded to f16, which the tolerance is.
    EXPECT_THAT(narrow.dv.dense(), Pointwise(FloatNear(0.02f), wide.dv.dense()));
    for (const GuardedTensor* tensor : {&narrow.o, &narrow.dq, &narrow.dk, &narrow.dv}) {
      EXPECT_TRUE(tensor->guards_intact());
    }
  }
}

TEST(XformersOutputDtype, WhatHasNoMeaning_IsRefused) {
  const CaseOperands operands(case_of(DType::bf16));
  const auto refusal = [&](DType output, const auto& change) -> std::string {
    OutputRun run(operands, output, DType::f32);
    change(run);
    return regard::xformers::refusal([&] { run.run(); });
  };
  const auto refusal_of_out = [&](const auto& change) {
    OutputRun run(operands, DType::bf16, DType::f32);
    Tensor out = run.o.view();
    change(out);
    return regard::xformers::refusal([&] { memory_efficient_attention(run.arguments, out); });
  };
  EXPECT_THAT(refusal(DType::f8_e4m3, [](OutputRun&) {}), HasSubstr("o is f8_e4m3"));
  EXPECT_THAT(refusal(DType::f32,
                      [&](OutputRun& run) {
                        run.d_o = GuardedTensor(DType::f16, shape_of(run.d_o.view()), Layout::bshd);
                      }),
              HasSubstr("grad is f16 and out f32"));
  EXPECT_THAT(refusal_of_out([](Tensor& out) { out.dtype = static_cast<DType>(77); }),
              HasSubstr("out.dtype 77"));
  EXPECT_THAT(refusal_of_out([](Tensor& out) {
                out.dtype = DType::f32;
                out.data = nullptr;
              }),
              HasSubstr("out.data is null"));
  EXPECT_THAT(refusal(DType::f32, [](OutputRun& run) { run.arguments.k.dim = 3; }),
              HasSubstr("q.dim 20 and k.dim 3"));
}

}  // namespace
}  // namespace regard::xformers
