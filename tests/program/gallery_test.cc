// The gallery of docs/modules/flex_attention.md: each program against a dense mask and bias that
// are written here in plain C++, forward and backward, on every back end, with and without block
// masks.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <memory>
#include <random>

#include "tests/program/flex_case.h"

namespace regard {
namespace {

using test::DenseMeaning;
using test::FlexOperands;
using test::FlexResults;
using test::FlexShape;

// Tensors that programs capture, and their memory.
struct Captured {
  std::vector<std::vector<float>> reals;
  std::vector<std::vector<int32_t>> integers;
  std::vector<ProgramTensor> score, mask;
};

struct Example {
  explicit Example(std::string title) : name(std::move(title)) {}

  std::string name;
  FlexShape shape;
  std::optional<Program> score, mask;
  std::shared_ptr<Captured> captured = std::make_shared<Captured>();
  DenseMeaning meaning;
  // Which element of d_tensors[0] a pair's bias is, times which factor; -1 for none.
  std::function<std::pair<int64_t, double>(int64_t h, int64_t q, int64_t kv)> element;

  BoundProgram bound_score() const { return bound(score, captured->score); }
  BoundProgram bound_mask() const { return bound(mask, captured->mask); }

 private:
  static BoundProgram bound(const std::optional<Program>& program,
                            const std::vector<ProgramTensor>& tensors) {
    return program ? BoundProgram{&*program, tensors.data(), static_cast<int32_t>(tensors.size())}
                   : BoundProgram{};
  }
};

// What GoogleTest shows of an example.
void PrintTo(const Example& example, std::ostream* out) { *out << example.name; }

bool is_causal(int64_t, int64_t, int64_t q, int64_t kv) { return q >= kv; }

Example causal() {
  Example example("causal");
  example.mask = mask_program([](Value, Value, Value q, Value kv) { return q >= kv; });
  example.meaning.sees = is_causal;
  return example;
}

Example window() {
  Example example("window");
  example.shape.q_len = 61;
  example.mask = mask_program("q >= kv && q - kv < 17");
  example.meaning.sees = [](int64_t, int64_t, int64_t q, int64_t kv) {
    return kv <= q && kv > q - 17;
  };
  return example;
}

Example alibi() {
  Example example("alibi");
  Captured& captured = *example.captured;
  captured.reals = {{0.5f, 0.25f, 0.125f, 0.0625f}};
  captured.score = {{captured.reals[0].data(), false, 1, {4}, {1}}};
  example.score = score_program("score + slopes[h] * (kv - q)", {{"slopes"}});
  example.mask = mask_program("q >= kv");
  example.meaning.sees = is_causal;
  example.meaning.bias = [slopes = captured.reals[0]](int64_t, int64_t h, int64_t q, int64_t kv) {
    return -static_cast<double>(slopes[static_cast<size_t>(h)]) * static_cast<double>(q - kv);
  };
  example.element = [](int64_t h, int64_t q, int64_t kv) {
    return std::pair{h, static_cast<double>(kv - q)};
  };
  return example;
}

Example softcap() {
  Example example("softcap");
  example.score = score_program(
      [](Value score, Value, Value, Value, Value) { return 2.0 * tanh(score / 2.0); });
  example.meaning.softcap = 2.0f;
  return example;
}

Example document() {
  Example example("document");
  Captured& captured = *example.captured;
  captured.integers.emplace_back();
  for (int32_t token = 0; token < 70; ++token) {
    captured.integers[0].push_back(token < 11 ? 0 : token < 40 ? 5 : 2);
  }
  captured.mask = {{captured.integers[0].data(), true, 1, {70}, {1}}};
  example.mask = mask_program("q >= kv && doc[q] == doc[kv]", {{"doc", ElementType::integer, 1}});
  example.meaning.sees = [](int64_t, int64_t, int64_t q, int64_t kv) {
    const auto part = [](int64_t token) { return token < 11 ? 0 : token < 40 ? 1 : 2; };
    return q >= kv && part(q) == part(kv);
  };
  return example;
}

// Packed rows: positions count inside documents, so the program knows nothing of packing.
Example packed_window() {
  Example example("packed_window");
  example.shape.batch = 1;
  example.shape.offsets = {0, 1, 1, 30, 70};
  example.mask = mask_program("q >= kv && q - kv < 9 && doc[q] == doc[kv] || kv < 2 && q >= kv");
  example.meaning.sees = [offsets = example.shape.offsets](int64_t, int64_t, int64_t q,
                                                           int64_t kv) {
    size_t i = 0;
    while (offsets[i + 1] <= q) ++i;
    return kv >= offsets[i] && kv < offsets[i + 1] && kv <= q &&
           (q - kv < 9 || kv - offsets[i] < 2);
  };
  return example;
}

// Several blocks of rows and keys that documents share, and a window of its own for each head.
Example long_packed_window() {
  Example example("long_packed_window");
  example.shape.batch = 1;
  example.shape.q_len = example.shape.k_len = 330;
  example.shape.offsets = {0, 100, 101, 330};
  example.mask = mask_program("q >= kv && q - kv < 60 + 20 * h");
  example.meaning.sees = [offsets = example.shape.offsets](int64_t, int64_t h, int64_t q,
                                                           int64_t kv) {
    size_t i = 0;
    while (offsets[i + 1] <= q) ++i;
    return kv >= offsets[i] && kv <= q && q - kv < 60 + 20 * h;
  };
  return example;
}

Example prefix_lm() {
  Example example("prefix_lm");
  Captured& captured = *example.captured;
  captured.integers = {{13, 40}};
  captured.mask = {{captured.integers[0].data(), true, 1, {2}, {1}}};
  const SymbolicTensor prefix("prefix", ElementType::integer);
  example.mask =
      mask_program([&](Value b, Value, Value q, Value kv) { return kv <= q || kv < prefix(b); });
  example.meaning.sees = [](int64_t b, int64_t, int64_t q, int64_t kv) {
    return kv <= q || kv < (b == 0 ? 13 : 40);
  };
  return example;
}

Example dilated() {
  Example example("dilated");
  example.mask = mask_program("q >= kv && (q - kv) % 3 == 0 && q - kv < 30");
  example.meaning.sees = [](int64_t, int64_t, int64_t q, int64_t kv) {
    for (int64_t step = 0; step < 10; ++step) {
      if (kv == q - 3 * step) return true;
    }
    return false;
  };
  return example;
}

// NATTEN: every query sees exactly 7 neighbours; near the ends the neighbourhood moves inside.
Example neighbourhood_1d() {
  Example example("neighbourhood_1d");
  example.mask = mask_program([](Value, Value, Value q, Value kv) {
    const Value first = clamp(q - 3, 0, kv_len() - 7);
    return kv >= first && kv < first + 7;
  });
  example.meaning.sees = [](int64_t, int64_t, int64_t q, int64_t kv) {
    const int64_t centre = q < 3 ? 3 : q > 66 ? 66 : q;
    return std::abs(kv - centre) <= 3;
  };
  return example;
}

// The same over an image of 7 x 10, 5 x 3 neighbours.
Example neighbourhood_2d() {
  Example example("neighbourhood_2d");
  example.mask = mask_program([](Value, Value, Value q, Value kv) {
    const Value row = clamp(q / 10, 2, 4), column = clamp(q % 10, 1, 8);
    return abs(kv / 10 - row) <= 2 && abs(kv % 10 - column) <= 1;
  });
  example.meaning.sees = [](int64_t, int64_t, int64_t q, int64_t kv) {
    const int64_t y = q / 10, x = q - y * 10;
    const int64_t y_lo = y < 2 ? 0 : y > 4 ? 2 : y - 2, x_lo = x < 1 ? 0 : x > 8 ? 7 : x - 1;
    const int64_t key_y = kv / 10, key_x = kv - key_y * 10;
    return key_y >= y_lo && key_y < y_lo + 5 && key_x >= x_lo && key_x < x_lo + 3;
  };
  return example;
}

// Rows of different lengths, padded: what lies past a row's end sees and is seen by nothing.
Example jagged() {
  Example example("jagged");
  Captured& captured = *example.captured;
  captured.integers = {{70, 23}};
  captured.mask = {{captured.integers[0].data(), true, 1, {2}, {1}}};
  example.mask =
      mask_program("q < lengths[b] && kv < lengths[b]", {{"lengths", ElementType::integer, 1}});
  example.meaning.sees = [](int64_t b, int64_t, int64_t q, int64_t kv) {
    return b == 0 || (q < 23 && kv < 23);
  };
  return example;
}

// A learned table of relative positions, clipped at 20 on either side.
Example relative_bias() {
  Example example("relative_bias");
  Captured& captured = *example.captured;
  captured.reals.emplace_back(4 * 41);
  std::mt19937 random(3);
  for (float& value : captured.reals[0]) {
    value = std::normal_distribution<float>()(random);
  }
  captured.score = {{captured.reals[0].data(), false, 2, {4, 41}, {41, 1}}};
  example.score = score_program("score + table[h, clamp(q - kv, -20, 20) + 20]", {{"table"}});
  const auto index = [](int64_t h, int64_t q, int64_t kv) {
    const int64_t distance = q - kv > 20 ? 20 : q - kv < -20 ? -20 : q - kv;
    return h * 41 + distance + 20;
  };
  example.meaning.bias = [index, table = captured.reals[0]](int64_t, int64_t h, int64_t q,
                                                            int64_t kv) {
    return static_cast<double>(table[static_cast<size_t>(index(h, q, kv))]);
  };
  example.element = [index](int64_t h, int64_t q, int64_t kv) {
    return std::pair{index(h, q, kv), 1.0};
  };
  return example;
}

// T5: exact distances up to 7, then buckets that grow as the logarithm.
Example bucketed_bias() {
  Example example("bucketed_bias");
  Captured& captured = *example.captured;
  captured.reals.emplace_back(4 * 16);
  std::mt19937 random(4);
  for (float& value : captured.reals[0]) {
    value = std::normal_distribution<float>()(random);
  }
  captured.score = {{captured.reals[0].data(), false, 2, {4, 16}, {16, 1}}};
  const SymbolicTensor table("table");
  example.score = score_program([&](Value score, Value, Value h, Value q, Value kv) {
    const Value distance = max(q - kv, 0);
    const Value far = floor(8.001 + log(max(distance, 8) / 8.0) * (8.0 / std::log(16.0)));
    return score + table(h, where(distance < 8, distance, min(far, 15)));
  });
  example.mask = mask_program("q >= kv");
  example.meaning.sees = is_causal;
  const auto index = [](int64_t h, int64_t q, int64_t kv) {
    const int64_t n = q - kv;
    const auto far =
        static_cast<int64_t>(8.001 + std::log(static_cast<double>(n) / 8.0) / std::log(16.0) * 8.0);
    return h * 16 + (n < 8 ? n : std::min<int64_t>(far, 15));
  };
  example.meaning.bias = [index, values = captured.reals[0]](int64_t, int64_t h, int64_t q,
                                                             int64_t kv) {
    return static_cast<double>(values[static_cast<size_t>(index(h, q, kv))]);
  };
  example.element = [index](int64_t h, int64_t q, int64_t kv) {
    return std::pair{q >= kv ? index(h, q, kv) : -1, 1.0};
  };
  return example;
}

// Attention sinks: a window, and the first four keys always.
Example sink_tokens() {
  Example example("sink_tokens");
  example.mask =
      or_masks({mask_program("q >= kv && q - kv < 16"), mask_program("kv <= q && kv < 4")});
  example.meaning.sees = [](int64_t, int64_t, int64_t q, int64_t kv) {
    return kv <= q && (kv < 4 || kv > q - 16);
  };
  return example;
}

// Several at once: tanh softcap, window and documents, on the columns of one head only.
Example combined() {
  Example example("combined");
  Captured& captured = *example.captured;
  captured.integers.emplace_back();
  for (int32_t token = 0; token < 70; ++token) captured.integers[0].push_back(token / 19);
  captured.mask = {{captured.integers[0].data(), true, 1, {70}, {1}}};
  example.score = score_program("1.5 * tanh(score / 1.5)");
  const Program documents =
      mask_program("owner[q] == owner[kv]", {{"owner", ElementType::integer, 1}});
  example.mask =
      and_masks({documents, mask_program("q >= kv"), mask_program("q - kv < 12 || h == 1")});
  example.meaning.softcap = 1.5f;
  example.meaning.sees = [](int64_t, int64_t h, int64_t q, int64_t kv) {
    return q / 19 == kv / 19 && kv <= q && (h == 1 || q < kv + 12);
  };
  return example;
}

std::vector<Example> gallery() {
  return {causal(),        window(),
          alibi(),         softcap(),
          document(),      prefix_lm(),
          packed_window(), dilated(),
          jagged(),        neighbourhood_1d(),
          combined(),      neighbourhood_2d(),
          relative_bias(), long_packed_window(),
          sink_tokens(),   bucketed_bias()};
}

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
  std::vector<Example> examples = gallery();
  std::erase_if(examples, [has](const Example& example) { return !has(example); });
  return examples;
}
std::string title(const ::testing::TestParamInfo<Example>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(All, Gallery, ::testing::ValuesIn(gallery()), title);
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
