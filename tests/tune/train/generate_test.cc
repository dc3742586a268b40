#include "tune/train/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <set>

#include "tests/tune/train/toy_model.h"
#include "tune/error.h"

namespace tune::testing {
namespace {

using ::testing::ElementsAre;

const torch::Tensor kLogits = torch::tensor({1.0f, 3.0f, 2.0f, -1.0f});

std::set<int32_t> drawn(const SamplingOptions& options, int count = 2000) {
  Sampler sampler(options);
  std::set<int32_t> ids;
  for (int i = 0; i < count; ++i) ids.insert(sampler.next(kLogits, {}));
  return ids;
}

TEST(Sampler, TemperatureZero_TakesTheLikeliest) { EXPECT_THAT(drawn({}, 5), ElementsAre(1)); }

TEST(Sampler, TemperatureOne_DrawsByProbability) {
  SamplingOptions options;
  options.temperature = 1.0;
  Sampler sampler(options);
  std::vector<double> share(4, 0.0);
  const int count = 40'000;
  for (int i = 0; i < count; ++i) share[static_cast<size_t>(sampler.next(kLogits, {}))] += 1.0;
  const torch::Tensor expected = torch::softmax(kLogits, 0);
  // Five standard deviations of a share near one half: 5 * sqrt(0.25 / 40000) = 0.0125.
  for (int64_t i = 0; i < 4; ++i)
    EXPECT_NEAR(share[static_cast<size_t>(i)] / count, expected[i].item<double>(), 0.0125);
}

TEST(Sampler, Filters_KeepTheLikeliest) {
  SamplingOptions options;
  options.temperature = 1.0;
  options.top_k = 2;
  EXPECT_THAT(drawn(options), ElementsAre(1, 2));
  options = {};
  options.temperature = 1.0;
  options.top_p = 0.6;  // the likeliest alone has 0.65
  EXPECT_THAT(drawn(options), ElementsAre(1));
  options.top_p = 0.7;
  EXPECT_THAT(drawn(options), ElementsAre(1, 2));
  options = {};
  options.temperature = 1.0;
  options.min_p = 0.2;  // exp(-1) = 0.37 stays, exp(-2) = 0.14 goes
  EXPECT_THAT(drawn(options), ElementsAre(1, 2));
}

TEST(Sampler, RepetitionPenalty_MakesSeenTokensLessLikely) {
  SamplingOptions options;
  options.repetition_penalty = 2.0;
  const std::vector<int32_t> seen = {1};
  EXPECT_EQ(Sampler(options).next(kLogits, seen), 2);  // 3 / 2 < 2
}

TEST(Sampler, SameSeed_DrawsTheSame) {
  SamplingOptions options;
  options.temperature = 1.3;
  const auto draw = [&](uint64_t seed) {
    options.seed = seed;
    Sampler sampler(options);
    std::vector<int32_t> ids;
    for (int i = 0; i < 50; ++i) ids.push_back(sampler.next(kLogits, {}));
    return ids;
  };
  EXPECT_EQ(draw(5), draw(5));
  EXPECT_NE(draw(5), draw(6));
}

TEST(Sampler, OptionsOutOfRange_AreRefused) {
  for (const auto& change : std::vector<std::function<void(SamplingOptions&)>>{
           [](auto& o) { o.temperature = -1; }, [](auto& o) { o.top_p = 0; },
           [](auto& o) { o.top_p = 1.5; }, [](auto& o) { o.top_k = -1; },
           [](auto& o) { o.min_p = 2; }, [](auto& o) { o.repetition_penalty = 0; }}) {
    SamplingOptions options;
    change(options);
    EXPECT_THROW(check_sampling_options(options), UsageError);
  }
}

TEST(Sampler, LogitsNotANumber_AreAnError) {
  EXPECT_THROW(Sampler({}).next(torch::full({3}, NAN), {}), Error);
}

TEST(Generate, Limits_EndTheAnswer) {
  ToyModel model;
  SamplingOptions options;
  options.max_new_tokens = 6;
  const std::vector<int32_t> prompt = {4, 5};
  const std::vector<int32_t> answer = generate(model, prompt, options);
  ASSERT_EQ(answer.size(), 6u);
  options.stop_ids = {answer[2]};
  const std::vector<int32_t> stopped = generate(model, prompt, options);
  EXPECT_LE(stopped.size(), 2u);
  std::vector<int32_t> streamed;
  options.stop_ids.clear();
  generate(model, prompt, options, [&](int32_t id) {
    streamed.push_back(id);
    return streamed.size() < 3;
  });
  EXPECT_EQ(streamed, std::vector<int32_t>(answer.begin(), answer.begin() + 3));
}

TEST(Generate, EmptyPrompt_IsAUsageError) {
  ToyModel model;
  EXPECT_THROW(generate(model, {}, {}), UsageError);
}

}  // namespace
}  // namespace tune::testing
