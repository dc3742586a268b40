#include "cli/arguments.h"

#include <gtest/gtest.h>

#include "tune/error.h"

namespace cli {
namespace {

using Overrides = std::vector<std::pair<std::string, std::string>>;

Arguments split(const std::vector<std::string>& words) {
  return split_arguments(words, {"machine"}, {"json", "help"});
}

TEST(SplitArguments, OverrideBeforeTheFile_LeavesTheFileToTheCommand) {
  const Arguments arguments = split({"--max-steps", "5", "file.yml"});
  EXPECT_EQ(arguments.own, std::vector<std::string>({"file.yml"}));
  EXPECT_EQ(arguments.overrides, Overrides({{"max_steps", "5"}}));
}

TEST(SplitArguments, EqualsSign_SeparatesAtTheFirst) {
  EXPECT_EQ(split({"--flex_score_mod=a == b"}).overrides,
            Overrides({{"flex_score_mod", "a == b"}}));
}

TEST(SplitArguments, LoneFlag_IsTrue) {
  EXPECT_EQ(split({"--bf16", "--json"}).overrides, Overrides({{"bf16", "true"}}));
  EXPECT_EQ(split({"--json"}).own, std::vector<std::string>({"--json"}));
}

TEST(SplitArguments, NegativeNumber_IsAValue) {
  EXPECT_EQ(split({"--weight_decay", "-0.1"}).overrides, Overrides({{"weight_decay", "-0.1"}}));
}

TEST(SplitArguments, OwnOption_KeepsItsValue) {
  EXPECT_EQ(split({"--machine", "turing", "a.yml"}).own,
            std::vector<std::string>({"--machine", "turing", "a.yml"}));
}

TEST(SplitArguments, TwoDashesAlone_AreRefused) {
  EXPECT_THROW(split({"--", "5"}), tune::UsageError);
}

}  // namespace
}  // namespace cli
