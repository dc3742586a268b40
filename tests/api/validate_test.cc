// Every way a problem can contradict itself is refused before anything is written, with the value.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "regard/attention.h"
#include "tests/api/validate_fixture.h"

namespace regard {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(Validate, UnspoiltCall_IsAccepted) {
  Call call;
  attention_forward(call.problem, call.outputs);
  attention_backward(call.problem, call.tensors);
}

TEST(Validate, Shapes_MustAgree) {
  expect_forward_refusals({
      {"k.batch 2", [](Call& c) { c.problem.k.batch = 2; }},
      {"k.seq 4 and v.seq 3", [](Call& c) { c.problem.v.seq = 3; }},
      {"v.heads 2", [](Call& c) { c.problem.v.heads = 2; }},
      {"q.dim 8 and k.dim 4", [](Call& c) { c.problem.k.dim = 4; }},
      {"q.heads 3: must be a multiple of k.heads 2",
       [](Call& c) {
         c.problem.q.heads = 3;
         c.problem.k.heads = c.problem.v.heads = 2;
       }},
      {"multiple of k.heads 0", [](Call& c) { c.problem.k.heads = c.problem.v.heads = 0; }},
      {"q.dim 0", [](Call& c) { c.problem.q.dim = c.problem.k.dim = 0; }},
      {"q.seq -1", [](Call& c) { c.problem.q.seq = -1; }},
      {"q.seq 4294967296", [](Call& c) { c.problem.q.seq = int64_t{1} << 32; }},
      {"o has the shape [1, 4, 1, 8]", [](Call& c) { c.outputs.o.heads = 1; }},
  });
}

TEST(Validate, PointersStridesAndDTypes_AreChecked) {
  expect_forward_refusals({
      {"q.data is null", [](Call& c) { c.problem.q.data = nullptr; }},
      {"o.data is null", [](Call& c) { c.outputs.o.data = nullptr; }},
      {"k.data is not aligned",
       [](Call& c) { c.problem.k.data = static_cast<char*>(c.problem.k.data) + 1; }},
      {"v has a stride of -8", [](Call& c) { c.problem.v.stride_seq = -8; }},
      {"o overlaps itself: a stride of 0", [](Call& c) { c.outputs.o.stride_head = 0; }},
      {"o overlaps itself: a stride of 12", [](Call& c) { c.outputs.o.stride_seq = 12; }},
      {"lse overlaps itself", [](Call& c) { c.outputs.lse.stride_head = 3; }},
      {"dtypes f32, bf16, f32", [](Call& c) { c.problem.k.dtype = DType::bf16; }},
      {"o is f16", [](Call& c) { c.outputs.o.dtype = DType::f16; }},
      {"q.dtype 7", [](Call& c) { c.problem.q.dtype = static_cast<DType>(7); }},
  });
}

TEST(Validate, Scalars_MustMakeSense) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  expect_forward_refusals({
      {"scale inf", [](Call& c) { c.problem.scale = kInfinity; }},
      {"scale nan", [](Call& c) { c.problem.scale = kNan; }},
      {"softcap -1", [](Call& c) { c.problem.softcap = -1.0f; }},
      {"dropout probability 1.0", [](Call& c) { c.problem.dropout.probability = 1.0f; }},
      {"dropout probability -0.1", [](Call& c) { c.problem.dropout.probability = -0.1f; }},
      {"dropout probability nan", [](Call& c) { c.problem.dropout.probability = kNan; }},
      {"window (-2, 0)",
       [](Call& c) {
         c.problem.window = {-2, 0};
       }},
      {"first_query -1: must be from 0", [](Call& c) { c.problem.first_query = -1; }},
      {"causal 9", [](Call& c) { c.problem.causal = static_cast<Causal>(9); }},
  });
}

TEST(Validate, Documents_MustCutTheRowIntoPieces) {
  const auto pack = [](Call& c) { c.problem.documents = {c.offsets, c.offsets, 2}; };
  expect_forward_refusals({
      {"documents.count -1", [](Call& c) { c.problem.documents.count = -1; }},
      {"q_offsets is null", [](Call& c) { c.problem.documents.count = 2; }},
      {"q_offsets[0] is 1: must be 0",
       [&](Call& c) {
         pack(c);
         c.offsets[0] = 1;
       }},
      {"q_offsets[2] is 0: must not be less than the 1",
       [&](Call& c) {
         pack(c);
         c.offsets[2] = 0;
       }},
      {"q_offsets[2] is 5: must be the sequence length 4",
       [&](Call& c) {
         pack(c);
         c.offsets[2] = 5;
       }},
      {"batch 2 with 2 packed documents",
       [&](Call& c) {
         pack(c);
         c.problem.q.batch = c.problem.k.batch = c.problem.v.batch = 2;
       }},
  });
}

TEST(Validate, MasksAndBiases_AreChecked) {
  static const uint8_t mask = 1;
  static const float bias[2] = {0, 0};
  expect_forward_refusals({
      {"mask has a stride of -1",
       [](Call& c) {
         c.problem.mask = {&mask, 0, 0, -1, 0};
       }},
      {"bias has a stride of -4",
       [](Call& c) { c.problem.bias = {bias, DType::f32, -4, 0, 0, 0}; }},
      {"bias.dtype 5", [](Call& c) { c.problem.bias = {bias, static_cast<DType>(5), 0, 0, 0, 0}; }},
      {"bias.data is not aligned",
       [](Call& c) {
         c.problem.bias = {reinterpret_cast<const char*>(bias) + 1, DType::f32, 0, 0, 0, 0};
       }},
  });
}

TEST(Validate, BackwardTensors_MustFitTheProblem) {
  const std::vector<Refusal> refusals = {
      {"lse.data is null", [](Call& c) { c.tensors.lse.data = nullptr; }},
      {"d_o.data is null", [](Call& c) { c.tensors.d_o.data = nullptr; }},
      {"d_o has the shape", [](Call& c) { c.tensors.d_o.seq = 3; }},
      {"d_o is bf16", [](Call& c) { c.tensors.d_o.dtype = DType::bf16; }},
      {"dk has the shape [1, 4, 2, 8]: must be that of k, [1, 4, 1, 8]",
       [](Call& c) { c.tensors.dk.heads = 2; }},
      {"dv.data is null", [](Call& c) { c.tensors.dv.data = nullptr; }},
      {"dq overlaps itself", [](Call& c) { c.tensors.dq.stride_seq = 8; }},
  };
  expect_backward_refusals(refusals);
}

}  // namespace
}  // namespace regard
