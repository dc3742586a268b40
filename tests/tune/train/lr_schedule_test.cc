// The numbers are those of Transformers' get_scheduler with a base rate of 1.
#include "tune/train/lr_schedule.h"

#include <gtest/gtest.h>

#include <vector>

#include "tune/error.h"

namespace tune {
namespace {

Config config_of(const std::string& scheduler, int64_t warmup) {
  Config config;
  config.lr_scheduler = scheduler;
  config.learning_rate = 1.0;
  config.warmup_steps = warmup;
  return config;
}

void expect_rates(const Config& config, const std::vector<double>& expected) {
  const LrSchedule schedule(config, static_cast<int64_t>(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(schedule.rate(static_cast<int64_t>(i) + 1), expected[i], 1e-14) << "step " << i + 1;
}

TEST(LrSchedule, CosineWithWarmup_MatchesTransformers) {
  expect_rates(config_of("cosine", 3),
               {0.0, 0.3333333333333333, 0.6666666666666666, 1.0, 0.9698463103929542,
                0.883022221559489, 0.75, 0.5868240888334653, 0.41317591116653485,
                0.2500000000000001, 0.11697777844051105, 0.03015368960704584});
}

TEST(LrSchedule, CosineWithoutWarmup_MatchesTransformers) {
  expect_rates(config_of("cosine", 0), {1.0, 0.9045084971874737, 0.6545084971874737,
                                        0.34549150281252633, 0.09549150281252633});
}

TEST(LrSchedule, CosineWithMinimum_MatchesTransformers) {
  Config config = config_of("cosine", 3);
  config.cosine_min_lr_ratio = 0.1;
  expect_rates(config, {0.0, 0.3333333333333333, 0.6666666666666666, 1.0, 0.9728616793536587,
                        0.8947199994035401, 0.775, 0.6281416799501187, 0.4718583200498814,
                        0.3250000000000001, 0.20528000059645996, 0.12713832064634126});
}

TEST(LrSchedule, Linear_MatchesTransformers) {
  expect_rates(config_of("linear", 4),
               {0.0, 0.25, 0.5, 0.75, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125});
}

TEST(LrSchedule, Constant_IgnoresWarmup) {
  expect_rates(config_of("constant", 4), {1.0, 1.0, 1.0, 1.0, 1.0, 1.0});
}

TEST(LrSchedule, ConstantWithWarmup_MatchesTransformers) {
  expect_rates(config_of("constant_with_warmup", 4), {0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0});
}

TEST(LrSchedule, UnknownName_NamesTheKnownOnes) {
  try {
    LrSchedule(config_of("cosin", 0), 10);
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("constant_with_warmup"), std::string::npos);
  }
}

TEST(WarmupSteps, Unset_IsThreePercentAtMostHundred) {
  Config config;
  EXPECT_EQ(warmup_steps(config, 1000), 30);
  EXPECT_EQ(warmup_steps(config, 100000), 100);
  EXPECT_EQ(warmup_steps(config, 20), 0);
}

TEST(WarmupSteps, One_BecomesTwo) {
  Config config;
  EXPECT_EQ(warmup_steps(config, 40), 2);
  config.warmup_steps = 1;
  EXPECT_EQ(warmup_steps(config, 1000), 2);
}

TEST(WarmupSteps, Ratio_IsAShareOfAllSteps) {
  Config config;
  config.warmup_ratio = 0.1;
  EXPECT_EQ(warmup_steps(config, 250), 25);
}

}  // namespace
}  // namespace tune
