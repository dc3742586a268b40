#include "regard/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "regard/error.h"

namespace regard {
namespace {

TEST(DescribeMachine, EveryName_HasItsGeneration) {
  const auto capability = [](std::string_view name) {
    return describe_machine(name).compute_capability;
  };
  EXPECT_EQ(capability("cpu"), 0);
  EXPECT_EQ(capability("pascal"), 60);
  EXPECT_EQ(capability("turing"), 75);
  EXPECT_EQ(capability("ampere"), 80);
  EXPECT_EQ(capability("ada"), 89);
  EXPECT_EQ(capability("hopper"), 90);
  EXPECT_EQ(capability("blackwell"), 100);
  EXPECT_EQ(describe_machine("mi300").amd_arch, "gfx942");
}

TEST(DescribeMachine, WithoutFurtherWords_HasTheUsualToolkit) {
  EXPECT_EQ(describe_machine("ampere").cuda, (ToolkitVersion{13, 0}));
  EXPECT_EQ(describe_machine("mi300").rocm, (ToolkitVersion{6, 2}));
  EXPECT_EQ(describe_machine("mi300").cuda, ToolkitVersion{});
  EXPECT_EQ(describe_machine("cpu").cuda, ToolkitVersion{});
}

TEST(DescribeMachine, UnknownName_ListsTheKnownOnes) {
  try {
    describe_machine("volta");
    FAIL() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("'volta'"));
    EXPECT_THAT(error.what(), ::testing::HasSubstr("blackwell, mi300"));
  }
}

TEST(ToolkitVersion, TwoDigitMinor_IsNewer) {
  EXPECT_GT((ToolkitVersion{12, 10}), (ToolkitVersion{12, 8}));
  EXPECT_LT((ToolkitVersion{}), (ToolkitVersion{5, 7}));
}

TEST(Machine, Bf16Matrix_FollowsTheDeviceThatComputes) {
  EXPECT_FALSE(describe_machine("turing").has_bf16_matrix());
  EXPECT_TRUE(describe_machine("ampere").has_bf16_matrix());
  EXPECT_TRUE(describe_machine("mi300").has_bf16_matrix());
  Machine machine = describe_machine("cpu");
  EXPECT_FALSE(machine.has_bf16_matrix());
  machine.cpu.avx512_bf16 = true;
  EXPECT_TRUE(machine.has_bf16_matrix());
  machine = describe_machine("turing");
  machine.cpu.amx_bf16 = true;
  EXPECT_FALSE(machine.has_bf16_matrix());
  machine = describe_machine("mi300");
  machine.amd_arch = "gfx1100";
  EXPECT_FALSE(machine.has_bf16_matrix());
}

TEST(DetectMachine, ThisComputer_HasANameCoresAndMemory) {
  const Machine machine = detect_machine();
  EXPECT_NE(machine.device_name, "");
  EXPECT_GE(machine.num_threads, 1);
  EXPECT_GT(machine.memory_bytes, 0);
#if defined(__x86_64__)
  EXPECT_EQ(machine.cpu.avx2, __builtin_cpu_supports("avx2") != 0);
  EXPECT_EQ(machine.cpu.avx512_vnni, __builtin_cpu_supports("avx512vnni") != 0);
#endif
}

TEST(DetectCpuMachine, WhateverGpuIsBesideIt_IsTheCpu) {
  const Machine cpu = detect_cpu_machine(), machine = detect_machine();
  EXPECT_EQ(cpu.kind, DeviceKind::cpu);
  EXPECT_EQ(cpu.compute_capability, 0);
  EXPECT_EQ(cpu.cuda, ToolkitVersion{});
  EXPECT_NE(cpu.device_name, "");
  EXPECT_GT(cpu.memory_bytes, 0);
  EXPECT_EQ(cpu.num_threads, machine.num_threads);
  if (machine.kind == DeviceKind::cpu) {
    EXPECT_EQ(cpu.device_name, machine.device_name);
  }
}

}  // namespace
}  // namespace regard
