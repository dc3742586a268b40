#include "tune/train/out_of_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <new>
#include <stdexcept>

#include "regard/error.h"
#include "tune/error.h"

namespace tune {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(MemoryAdvice, FullFineTuning_NamesWhatTheFileDoesNotDoYet) {
  Config config;
  config.micro_batch_size = 4;
  config.sequence_len = 2048;
  config.bf16 = Tristate::yes;
  const std::string text = memory_advice(config, "step 3", torch::kCPU);
  EXPECT_THAT(text, HasSubstr("step 3: out of memory"));
  EXPECT_THAT(text, HasSubstr("micro_batch_size (now 4"));
  EXPECT_THAT(text, HasSubstr("sequence_len (now 2048)"));
  EXPECT_THAT(text, HasSubstr("gradient_checkpointing: true"));
  EXPECT_THAT(text, HasSubstr("adapter: lora"));
  EXPECT_THAT(text, Not(HasSubstr("bf16")));
}

TEST(MemoryAdvice, SmallestSettings_AreNotAskedForAgain) {
  Config config;
  config.micro_batch_size = 1;
  config.gradient_checkpointing = true;
  config.adapter = "qlora";
  config.load_in_4bit = true;
  const std::string text = memory_advice(config, "step 1", torch::kCPU);
  EXPECT_THAT(text, Not(HasSubstr("micro_batch_size")));
  EXPECT_THAT(text, Not(HasSubstr("gradient_checkpointing")));
  EXPECT_THAT(text, Not(HasSubstr("qlora")));
  EXPECT_THAT(text, HasSubstr("bf16: true"));
  EXPECT_THAT(text, HasSubstr("lora_r"));
}

template <class Problem>
void run_failing(const Problem& problem) {
  explaining_out_of_memory({}, "loading", torch::kCPU, [&] { throw problem; });
}

TEST(ExplainingOutOfMemory, EveryKindOfIt_BecomesAdvice) {
  EXPECT_THROW(run_failing(std::bad_alloc()), Error);
  EXPECT_THROW(run_failing(regard::Error(regard::ErrorCode::out_of_memory, "no 5 bytes")), Error);
  EXPECT_THROW(run_failing(std::runtime_error("CUDA out of memory. Tried to allocate")), Error);
  EXPECT_THROW(run_failing(std::runtime_error("can't allocate memory")), Error);
}

TEST(ExplainingOutOfMemory, OtherErrors_StayWhatTheyAre) {
  EXPECT_THROW(run_failing(std::runtime_error("shapes differ")), std::runtime_error);
  EXPECT_THROW(run_failing(regard::Error(regard::ErrorCode::unsupported, "no")), regard::Error);
}

}  // namespace
}  // namespace tune
