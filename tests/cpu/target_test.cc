#include "cpu/target.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "cpu/cpu_attention.h"
#include "cpu/scratch.h"
#include "regard/attention.h"
#include "regard/error.h"

namespace regard::cpu {
namespace {

TEST(Target, ForcedByAnyCase_Runs) {
  for (const std::string& name : available_targets()) {
    std::string lower = name;
    for (char& c : lower) {
      c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    force_target(lower);
    EXPECT_EQ(active_target(), name);
  }
  force_target("");
  EXPECT_EQ(active_target(), available_targets().front());
}

TEST(Target, UnknownName_IsAnErrorThatListsTheTargets) {
  for (const char* name : {"AVX9", "NEON", "AVX2 "}) {
    try {
      force_target(name);
      FAIL() << name << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      EXPECT_NE(std::string(error.what()).find(available_targets().front()), std::string::npos)
          << error.what();
    }
  }
  EXPECT_EQ(active_target(), available_targets().front());
}

// Registered once with the variable set to AVX2, once to a name that does not exist.
TEST(ForcedTarget, FromTheEnvironment_RunsOrIsRefused) {
  const char* forced = std::getenv("REGARD_FORCE_TARGET");
  if (forced == nullptr) {
    GTEST_SKIP() << "REGARD_FORCE_TARGET is not set";
  }
  const std::vector<std::string> names = available_targets();
  if (std::find(names.begin(), names.end(), forced) == names.end()) {
    EXPECT_THROW(regard::active_target(), Error);
  } else {
    EXPECT_EQ(regard::active_target(), forced);
  }
}

TEST(Scratch, TooLarge_IsOutOfMemory) {
  for (const size_t floats : {size_t{1} << 60, ~size_t{0}}) {
    try {
      const Scratch scratch(floats);
      FAIL() << "allocated " << floats << " floats";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
    }
  }
}

}  // namespace
}  // namespace regard::cpu
