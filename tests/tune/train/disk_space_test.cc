#include "tune/train/disk_space.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tune/train/toy_run.h"

namespace tune::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(DiskSpace, CheckpointsAtOnce_OneMoreThanTheLimit) {
  EXPECT_EQ(checkpoints_at_once(10, 3, 0), 4);
  EXPECT_EQ(checkpoints_at_once(10, 3, 3), 1);  // a resumed run's own are there already
  EXPECT_EQ(checkpoints_at_once(10, 3, 7), 0);
  EXPECT_EQ(checkpoints_at_once(2, 3, 0), 2);
  EXPECT_EQ(checkpoints_at_once(10, 0, 5), 10);
  EXPECT_EQ(checkpoints_at_once(0, 0, 5), 0);
}

TEST(DiskSpace, Bytes_AreThoseOfTheTensors) {
  Config config = toy_config("out");
  config.adapter = "";
  EXPECT_EQ(checkpoint_bytes(config, 1000, 1000), 12'000);
  EXPECT_EQ(result_bytes(config, 1000, 1000), 4'000);
  config.adapter = "lora";
  EXPECT_EQ(checkpoint_bytes(config, 1000, 10), 160);
  EXPECT_EQ(result_bytes(config, 1000, 10), 40);
}

TEST(DiskSpace, Warning_OnlyBeyondTheLimitAndWithFigures) {
  const DiskNeed need{4, 1'500'000'000, 500'000'000};
  EXPECT_THAT(disk_warning("out", need, 6'500'000'000), IsEmpty());
  EXPECT_THAT(disk_warning("out", need, std::nullopt), IsEmpty());
  EXPECT_THAT(disk_warning("out", need, 6'400'000'000),
              AllOf(HasSubstr("out"), HasSubstr("6.40 GB are free"), HasSubstr("6.50 GB"),
                    HasSubstr("4 checkpoints of 1.50 GB"), HasSubstr("save_total_limit")));
}

TEST(DiskSpace, FreeBytes_OfAFolderThatIsThere) {
  const TempFolder folder;
  EXPECT_GT(free_bytes(folder.path()).value_or(0), 0);
  EXPECT_EQ(free_bytes(folder / "not/there"), std::nullopt);
}

// Says that it is larger than any disk: 4e17 bytes a copy.
class HugeModel : public ToyModel {
 public:
  HugeModel() : ToyModel(AdapterKind::none) {}
  int64_t num_parameters() const override { return 100'000'000'000'000'000; }
};

TEST(DiskSpace, RunThatCannotFit_IsToldBeforeTheFirstStep) {
  const TempFolder folder;
  Config config = toy_config(folder.path());
  config.adapter = "";
  config.save_strategy = "epoch";
  HugeModel huge;
  Recorder recorder;
  recorder.stop = true;
  train_toy(config, huge, toy_data(8), recorder);
  EXPECT_TRUE(recorder.steps.empty());
  EXPECT_THAT(recorder.notes, HasSubstr("will be full before the run ends"));
}

TEST(DiskSpace, RunThatFits_IsToldNothing) {
  const TempFolder folder;
  Config config = toy_config(folder.path());
  config.save_strategy = "epoch";
  ToyModel model;
  Recorder recorder;
  train_toy(config, model, toy_data(8), recorder);
  EXPECT_THAT(recorder.notes, IsEmpty());
}

}  // namespace
}  // namespace tune::testing
