// The gallery of docs/modules/flex_attention.md: each program against a dense mask and bias that
// are written in plain C++, forward and backward, on every back end, with and without block masks.
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "tests/program/gallery.h"

namespace regard {
namespace {

using test::Example;
using test::FlexOperands;
using test::FlexResults;
using test::FlexShape;

constexpr std::array kBackends = {Backend::reference, Backend::cpu_tiled};
std::string name_of(Backend backend) {
  return backend == Backend::reference ? "reference" : "cpu_tiled";
}

class Gallery : public ::testing::TestWithParam<Example> {
 protected:
  static FlexAttentionOptions options() {
    return {.score_mod = GetParam().bound_score(), .mask_mod = GetParam().bound_mask()};
  }
  static BlockMask block_mask(int32_t block) {
    const FlexShape& shape = GetParam().shape;
    return create_block_mask(GetParam().bound_mask(), {.batch = shape.batch,
                                                       .heads = shape.q_heads,
                                                       .q_len = shape.q_len,
                                                       .k_len = shape.k_len,
                                                       .block_q = block,
                                                       .block_k = block,
                                                       .documents = shape.documents()});
  }
};

class MaskedGallery : public Gallery {};
class LearnedGallery : public Gallery {};

// f32 sums over 70 keys and heads, relative to the largest value.
constexpr double kTolerance = 1e-5;

void expect_close(const FlexResults& results, const FlexResults& expected) {
  EXPECT_LT(test::difference(results.o, expected.o), kTolerance) << "o";
  EXPECT_LT(test::difference(results.lse, expected.lse), kTolerance) << "lse";
  EXPECT_LT(test::difference(results.dq, expected.dq), kTolerance) << "dq";
  EXPECT_LT(test::difference(results.dk, expected.dk), kTolerance) << "dk";
  EXPECT_LT(test::difference(results.dv, expected.dv), kTolerance) << "dv";
}

TEST_P(Gallery, Programs_AreTheDenseMaskAndBias) {
  const FlexOperands operands(GetParam().shape, 1);
  const FlexResults expected = operands.dense(GetParam().meaning);
  for (const Backend backend : kBackends) {
    SCOPED_TRACE(name_of(backend));
    expect_close(operands.flex(options(), backend), expected);
  }
}

TEST_P(MaskedGallery, BlockMasks_ChangeNothing) {
  const FlexOperands operands(GetParam().shape, 2);
  const FlexResults expected = operands.dense(GetParam().meaning);
  for (const int32_t block : {7, 16, 128}) {
    const BlockMask mask = block_mask(block);
    const FlexAttentionOptions with_blocks{.score_mod = GetParam().bound_score(),
                                           .block_mask = &mask};
    for (const Backend backend : kBackends) {
      SCOPED_TRACE(name_of(backend) + ", blocks of " + std::to_string(block));
      expect_close(operands.flex(with_blocks, backend), expected);
    }
  }
}

// The dense bias's gradient, summed over the pairs that read an element.
TEST_P(LearnedGallery, CapturedTensors_GetTheGradientOfTheDenseBias) {
  const FlexShape& shape = GetParam().shape;
  const FlexOperands operands(shape, 3);
  const FlexResults dense = operands.dense(GetParam().meaning);
  std::vector<double> sums(GetParam().captured->reals[0].size(), 0.0);
  size_t at = 0;
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t h = 0; h < shape.q_heads; ++h) {
      for (int64_t q = 0; q < shape.q_len; ++q) {
        for (int64_t kv = 0; kv < shape.k_len; ++kv, ++at) {
          const auto [element, factor] = GetParam().element(h, q, kv);
          if (element >= 0) {
            sums[static_cast<size_t>(element)] += factor * static_cast<double>(dense.d_bias[at]);
          }
        }
      }
    }
  }
  const std::vector<float> expected(sums.begin(), sums.end());
  for (const Backend backend : kBackends) {
    SCOPED_TRACE(name_of(backend));
    const FlexResults results = operands.flex(options(), backend);
    // Sums of 20,000 gradients of either sign, each with the error of its softmax row.
    EXPECT_LT(test::difference(results.d_tensors.at(0), expected), 3e-5);
  }
}

TEST_P(LearnedGallery, CapturedTensors_AgreeWithFiniteDifferences) {
  const FlexOperands operands(GetParam().shape, 4);
  std::vector<float>& values = GetParam().captured->reals[0];
  for (const Backend backend : kBackends) {
    const FlexResults results = operands.flex(options(), backend);
    const std::vector<float>& gradient = results.d_tensors.at(0);
    double largest = 0.0;
    for (const float value : gradient) largest = std::max(largest, std::fabs(double{value}));
    for (size_t i = 0; i < values.size(); i += 1 + values.size() / 12) {
      const float middle = values[i];
      constexpr float kStep = 0x1p-7f;
      values[i] = middle + kStep;
      const double high = operands.loss(options(), backend);
      values[i] = middle - kStep;
      const double numeric = (high - operands.loss(options(), backend)) / (2.0 * kStep);
      values[i] = middle;
      // Curvature times the step squared, and f32 outputs divided by the step.
      EXPECT_NEAR(gradient[i], numeric, 2e-3 * largest) << name_of(backend) << " element " << i;
    }
  }
}

TEST_P(Gallery, Threads_ChangeNoBit) {
  const FlexOperands operands(GetParam().shape, 5);
  set_num_threads(1);
  const FlexResults one = operands.flex(options(), Backend::cpu_tiled);
  set_num_threads(3);
  const FlexResults three = operands.flex(options(), Backend::cpu_tiled);
  set_num_threads(0);
  EXPECT_EQ(one.o, three.o);
  EXPECT_EQ(one.dq, three.dq);
  EXPECT_EQ(one.dk, three.dk);
  EXPECT_EQ(one.dv, three.dv);
  EXPECT_EQ(one.d_tensors, three.d_tensors);
}

std::vector<Example> examples_with(bool (*has)(const Example&)) {
  std::vector<Example> examples = test::gallery();
  std::erase_if(examples, [has](const Example& example) { return !has(example); });
  return examples;
}
std::string title(const ::testing::TestParamInfo<Example>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(All, Gallery, ::testing::ValuesIn(test::gallery()), title);
INSTANTIATE_TEST_SUITE_P(All, MaskedGallery,
                         ::testing::ValuesIn(examples_with([](const Example& example) {
                           return example.mask.has_value();
                         })),
                         title);
INSTANTIATE_TEST_SUITE_P(All, LearnedGallery,
                         ::testing::ValuesIn(examples_with([](const Example& example) {
                           return static_cast<bool>(example.element);
                         })),
                         title);

// The texts that the documentation gives for programs that the gallery writes as lambdas.
TEST(Flex, TextsOfTheDocumentation_AreTheLambdas) {
  const std::vector<TensorInfo> tensors = {{"prefix", ElementType::integer}, {"table"}};
  const std::vector<std::pair<std::string, std::string>> texts = {
      {"causal", "q >= kv"},
      {"softcap", "2.0 * tanh(score / 2.0)"},
      {"prefix_lm", "kv <= q || kv < prefix[b]"},
      {"neighbourhood_1d",
       "kv >= clamp(q - 3, 0, kv_len - 7) && kv < clamp(q - 3, 0, kv_len - 7) + 7"},
      {"neighbourhood_2d",
       "abs(kv / 10 - clamp(q / 10, 2, 4)) <= 2 && abs(kv % 10 - clamp(q % 10, 1, 8)) <= 1"},
  };
  for (const auto& [name, text] : texts) {
    for (const Example& example : test::gallery()) {
      if (example.name != name) continue;
      const bool is_score = example.score.has_value();
      const Program& lambda = is_score ? *example.score : *example.mask;
      EXPECT_EQ((is_score ? score_program(text, tensors) : mask_program(text, tensors)).text(),
                lambda.text());
    }
  }
}

// What a dense mask hides, its block mask hides: partial blocks read the mask's bytes.
TEST(Flex, ABlockMaskOfADenseMask_IsTheMask) {
  const FlexOperands operands(FlexShape{}, 7);
  const FlexShape& shape = operands.shape();
  const auto sees = [](int64_t b, int64_t h, int64_t q, int64_t kv) {
    return (q * 7 + kv * 3 + h) % 5 != 0 && (b == 0 || kv < 40) && q != 3;
  };
  std::vector<uint8_t> bytes;
  for (int64_t row = 0; row < shape.batch * shape.q_heads * shape.q_len; ++row) {
    const int64_t q = row % shape.q_len, h = row / shape.q_len % shape.q_heads;
    for (int64_t kv = 0; kv < shape.k_len; ++kv) {
      bytes.push_back(sees(row / shape.q_len / shape.q_heads, h, q, kv) ? 1 : 0);
    }
  }
  const int64_t of_head = shape.q_len * shape.k_len;
  const BlockMask blocks =
      create_block_mask(MaskTensor{bytes.data(), shape.q_heads * of_head, of_head, shape.k_len, 1},
                        {.batch = shape.batch,
                         .heads = shape.q_heads,
                         .q_len = shape.q_len,
                         .k_len = shape.k_len,
                         .block_q = 16,
                         .block_k = 16});
  EXPECT_GT(blocks.sparsity(), 0.0);
  const FlexResults expected = operands.dense(
      {.sees = sees, .bias = [](int64_t, int64_t, int64_t, int64_t) { return 0.0; }});
  for (const Backend backend : kBackends) {
    SCOPED_TRACE(name_of(backend));
    expect_close(operands.flex({.block_mask = &blocks}, backend), expected);
  }
}

// A learned sink logit is a rescaling by the LSE: O * sigmoid(LSE - sink).
TEST(Flex, LseAndASinkLogit_GiveAttentionWithASink) {
  const FlexOperands operands(FlexShape{}, 6);
  const FlexResults plain = operands.flex({}, Backend::cpu_tiled);
  const FlexShape& shape = operands.shape();
  const std::array<float, 4> sinks = {0.5f, 4.0f, -1.0f, 2.0f};
  Problem problem;
  problem.q = operands.q();
  problem.k = operands.k();
  problem.v = operands.v();
  problem.sink.logits = sinks.data();
  std::vector<float> expected(plain.o.size());
  View o = operands.q();
  o.data = expected.data();
  o.dim = shape.value_dim;
  o.stride_head = shape.value_dim;
  o.stride_seq = shape.q_heads * shape.value_dim;
  o.stride_batch = shape.q_len * o.stride_seq;
  attention_forward(problem, {o, {}}, Backend::reference);
  std::vector<float> rescaled = plain.o;
  for (size_t i = 0; i < rescaled.size(); ++i) {
    const size_t row = i / static_cast<size_t>(shape.value_dim);
    const size_t h = row % 4, q = row / 4 % 70, b = row / 280;
    const float lse = plain.lse[(b * 4 + h) * 70 + q];
    rescaled[i] *= 1.0f / (1.0f + std::exp(sinks[h] - lse));
  }
  EXPECT_LT(test::difference(rescaled, expected), kTolerance);
}

}  // namespace
}  // namespace regard
