#include "regard/modules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace regard {
namespace {

using ::testing::HasSubstr;

std::string reason(Module module, std::string_view machine) {
  return why_unsupported(module, describe_machine(machine));
}

TEST(Modules, Table_HasTheOrderOfTheDesign) {
  std::vector<std::string_view> names;
  for (const ModuleInfo& info : modules()) {
    names.push_back(info.name);
    EXPECT_EQ(find_module(info.name), info.module);
    EXPECT_EQ(&module_info(info.module), &info);
  }
  EXPECT_THAT(names, ::testing::ElementsAre("sdpa", "flash_attention_2", "flash_attention_3",
                                            "flex_attention", "sage", "xformers", "s2", "eager"));
  EXPECT_FALSE(find_module("flash").has_value());
}

TEST(WhyUnsupported, SdpaAndEager_RunOnEveryMachine) {
  for (const char* machine :
       {"cpu", "pascal", "turing", "ampere", "ada", "hopper", "blackwell", "mi300"}) {
    for (const Module module :
         {Module::sdpa, Module::eager, Module::flex_attention, Module::xformers}) {
      EXPECT_EQ(reason(module, machine), "") << machine;
    }
  }
}

TEST(WhyUnsupported, FlashBelowAmpere_NamesTheModulesToUse) {
  for (const char* machine : {"pascal", "turing"}) {
    const std::string text = reason(Module::flash_attention_2, machine);
    EXPECT_THAT(text, HasSubstr("xformers_attention"));
    EXPECT_THAT(text, HasSubstr("sdp_attention"));
  }
  EXPECT_THAT(reason(Module::flash_attention_2, "turing"), HasSubstr("7.5"));
  for (const char* machine : {"cpu", "ampere", "ada", "hopper", "blackwell", "mi300"}) {
    EXPECT_EQ(reason(Module::flash_attention_2, machine), "") << machine;
  }
}

TEST(WhyUnsupported, Flash3OffHopper_SaysToWriteFlashAttention) {
  for (const char* machine : {"cpu", "turing", "ampere", "ada", "blackwell", "mi300"}) {
    EXPECT_THAT(reason(Module::flash_attention_3, machine), HasSubstr("flash_attention: true"))
        << machine;
  }
}

TEST(WhyUnsupported, Flash3OnHopper_ComparesCudaPartByPart) {
  Machine hopper = describe_machine("hopper");
  for (const ToolkitVersion cuda : {ToolkitVersion{12, 3}, {12, 10}, {13, 0}}) {
    hopper.cuda = cuda;
    EXPECT_EQ(why_unsupported(Module::flash_attention_3, hopper), "") << cuda.minor;
  }
  for (const ToolkitVersion cuda : {ToolkitVersion{12, 2}, {11, 8}, {}}) {
    hopper.cuda = cuda;
    EXPECT_THAT(why_unsupported(Module::flash_attention_3, hopper), HasSubstr("12.3"));
  }
}

TEST(WhyUnsupported, FlashOnAmd_NeedsRocm6) {
  Machine amd = describe_machine("mi300");
  amd.rocm = {5, 7};
  EXPECT_THAT(why_unsupported(Module::flash_attention_2, amd), HasSubstr("5.7"));
  amd.rocm = {6, 0};
  EXPECT_EQ(why_unsupported(Module::flash_attention_2, amd), "");
}

TEST(WhyUnsupported, Sage_IsForAmpereAndNewerOrTheCpu) {
  EXPECT_NE(reason(Module::sage, "turing"), "");
  EXPECT_THAT(reason(Module::sage, "mi300"), HasSubstr("NVIDIA"));
  for (const char* machine : {"cpu", "ampere", "ada", "hopper", "blackwell"}) {
    EXPECT_EQ(reason(Module::sage, machine), "") << machine;
  }
}

TEST(WhyUnsupported, HeadSizes_EndAtTheTablesLimit) {
  const Machine cpu = describe_machine("cpu");
  for (const ModuleInfo& info : modules()) {
    if (info.module == Module::flash_attention_3) {
      continue;  // not on a CPU at all
    }
    const int64_t limit = info.max_head_dim == 0 ? 4096 : info.max_head_dim;
    EXPECT_EQ(why_unsupported(info.module, cpu, {.head_dim = 1}), "") << info.name;
    EXPECT_EQ(why_unsupported(info.module, cpu, {.head_dim = limit}), "") << info.name;
    if (info.max_head_dim != 0) {
      EXPECT_THAT(why_unsupported(info.module, cpu, {.head_dim = limit + 1}),
                  HasSubstr("head_dim " + std::to_string(limit + 1)));
    }
    EXPECT_THAT(why_unsupported(info.module, cpu, {.head_dim = 0}), HasSubstr("head_dim 0"));
  }
  EXPECT_EQ(module_info(Module::sage).max_head_dim, 256);
  EXPECT_EQ(module_info(Module::xformers).max_head_dim, 512);
}

}  // namespace
}  // namespace regard
