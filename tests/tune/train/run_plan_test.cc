#include "tune/train/run_plan.h"

#include <gtest/gtest.h>

#include "tune/error.h"

namespace tune {
namespace {

RunPlan plan_for(const Config& config, int64_t batches, bool has_validation = false) {
  return make_run_plan(config, has_validation, [batches](int64_t) { return batches; });
}

TEST(RunPlan, WholeEpochs_CountShortAccumulationAsAStep) {
  Config config;
  config.num_epochs = 3;
  config.gradient_accumulation_steps = 4;
  const RunPlan plan = plan_for(config, 10);
  EXPECT_EQ(plan.steps_per_epoch(), 3);
  EXPECT_EQ(plan.num_steps, 9);
}

TEST(RunPlan, FractionOfAnEpoch_IsRoundedUp) {
  Config config;
  config.num_epochs = 1.25;
  EXPECT_EQ(plan_for(config, 10).num_steps, 13);
}

TEST(RunPlan, MaxSteps_WinsOverEpochs) {
  Config config;
  config.num_epochs = 1;
  config.max_steps = 25;
  const RunPlan plan = plan_for(config, 10);
  EXPECT_EQ(plan.num_steps, 25);
  EXPECT_EQ(plan.steps_in_epoch.size(), 3u);
}

TEST(RunPlan, EpochsOfDifferentLength_AreAddedUp) {
  Config config;
  config.num_epochs = 2;
  const RunPlan plan = make_run_plan(config, false, [](int64_t epoch) { return 5 + epoch; });
  EXPECT_EQ(plan.num_steps, 11);
}

TEST(RunPlan, NothingAsked_SavesAndEvaluatesEachEpoch) {
  const RunPlan plan = plan_for(Config(), 10, true);
  EXPECT_TRUE(plan.checkpoint.each_epoch);
  EXPECT_TRUE(plan.evaluation.each_epoch);
  EXPECT_TRUE(plan.saves_at_end);
  EXPECT_FALSE(plan_for(Config(), 10, false).evaluation.asked_for());
}

TEST(RunPlan, PerEpochCounts_BecomeSteps) {
  Config config;
  config.num_epochs = 2;
  config.evals_per_epoch = 4;
  config.saves_per_epoch = 1;
  const RunPlan plan = plan_for(config, 100, true);
  EXPECT_EQ(plan.evaluation.every_steps, 25);
  EXPECT_EQ(plan.checkpoint.every_steps, 100);
}

TEST(RunPlan, StrategyNo_TurnsOff) {
  Config config;
  config.eval_strategy = config.save_strategy = "no";
  const RunPlan plan = plan_for(config, 10, true);
  EXPECT_FALSE(plan.evaluation.asked_for());
  EXPECT_FALSE(plan.checkpoint.asked_for());
  EXPECT_FALSE(plan.saves_at_end);
}

TEST(RunPlan, CheckpointsAfterAStep_AreThoseStillDue) {
  Config config;
  config.gradient_accumulation_steps = 1;
  config.num_epochs = 2.5;
  config.save_strategy = "epoch";
  RunPlan plan = plan_for(config, 10);  // 25 steps: saves at 10, 20, 25
  EXPECT_EQ(plan.num_checkpoints_after(0), 3);
  EXPECT_EQ(plan.num_checkpoints_after(9), 3);
  EXPECT_EQ(plan.num_checkpoints_after(10), 2);
  EXPECT_EQ(plan.num_checkpoints_after(24), 1);
  EXPECT_EQ(plan.num_checkpoints_after(25), 0);
  config.save_strategy = "steps";
  config.save_steps = 4;  // at 4, 8, ..., 24, 25
  plan = plan_for(config, 10);
  EXPECT_EQ(plan.num_checkpoints_after(0), 7);
  EXPECT_EQ(plan.num_checkpoints_after(24), 1);
  config.save_steps = 5;  // the last one is the end's
  EXPECT_EQ(plan_for(config, 10).num_checkpoints_after(3), 5);
  config.save_strategy = "no";
  EXPECT_EQ(plan_for(config, 10).num_checkpoints_after(0), 0);
}

TEST(RunPlan, NoBatches_IsAUsageError) { EXPECT_THROW(plan_for(Config(), 0), UsageError); }

}  // namespace
}  // namespace tune
