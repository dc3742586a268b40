// One valid call, ways to spoil it, and the messages that must answer.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "regard/attention.h"
#include "regard/error.h"

namespace regard {

// A valid call of 2 query heads over 1 key/value head: [1, 4, 2, 8] and [1, 4, 1, 8].
struct Call {
  Call() {
    problem.q = view(0, 2);
    problem.k = view(100, 1);
    problem.v = view(200, 1);
    outputs.o = view(300, 2);
    outputs.lse = {memory.data() + 400, 8, 4};
    tensors = {.o = outputs.o,
               .lse = outputs.lse,
               .d_o = view(500, 2),
               .d_lse = {},
               .dq = view(600, 2),
               .dk = view(700, 1),
               .dv = view(800, 1)};
  }
  View view(size_t offset, int64_t heads) {
    return {.data = memory.data() + offset,
            .batch = 1,
            .seq = 4,
            .heads = heads,
            .dim = 8,
            .stride_batch = 32 * heads,
            .stride_seq = 8 * heads,
            .stride_head = 8};
  }
  std::vector<float> memory = std::vector<float>(900, 0.5f);
  Problem problem;
  ForwardOutputs outputs;
  BackwardTensors tensors;
  int32_t offsets[3] = {0, 1, 4};
};

struct Refusal {
  const char* message;  // part of it
  std::function<void(Call&)> spoil;
};

inline std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    return error.what();
  }
  return "nothing was refused";
}

inline void expect_forward_refusals(const std::vector<Refusal>& refusals) {
  for (const Refusal& refusal : refusals) {
    Call call;
    refusal.spoil(call);
    const std::vector<float> before = call.memory;
    EXPECT_THAT(message_of([&] { attention_forward(call.problem, call.outputs); }),
                ::testing::HasSubstr(refusal.message));
    EXPECT_EQ(call.memory, before) << "something was written: " << refusal.message;
  }
}

inline void expect_backward_refusals(const std::vector<Refusal>& refusals) {
  for (const Refusal& refusal : refusals) {
    Call call;
    refusal.spoil(call);
    const std::vector<float> before = call.memory;
    EXPECT_THAT(message_of([&] { attention_backward(call.problem, call.tensors); }),
                ::testing::HasSubstr(refusal.message));
    EXPECT_EQ(call.memory, before) << "something was written: " << refusal.message;
  }
}

}  // namespace regard
