#include "api/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string_view>

#include "regard/error.h"

namespace regard::api {
namespace {

const char* fake_num_threads = nullptr;

const char* fake_environment(const char* name) {
  if (std::string_view(name) == "REGARD_NUM_THREADS") {
    return fake_num_threads;
  }
  return std::string_view(name) == "REGARD_FORCE_TARGET" ? "AVX2" : nullptr;
}

Settings read_with_threads(const char* value) {
  fake_num_threads = value;
  return read_settings(fake_environment);
}

TEST(Settings, BothVariables_AreRead) {
  const Settings settings = read_with_threads("7");
  EXPECT_EQ(settings.force_target, "AVX2");
  EXPECT_EQ(settings.num_threads, 7);
}

TEST(Settings, NothingSet_LeavesTheDefaults) {
  const Settings settings = read_settings([](const char*) -> const char* { return nullptr; });
  EXPECT_EQ(settings.force_target, "");
  EXPECT_EQ(settings.num_threads, 0);
}

TEST(Settings, ThreadCountThatIsNoNumber_NamesVariableAndValue) {
  for (const char* value : {"many", "0", "-1", "2x", "99999999999", " 2"}) {
    try {
      read_with_threads(value);
      ADD_FAILURE() << value;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr("REGARD_NUM_THREADS=" + std::string(value)));
    }
  }
}

}  // namespace
}  // namespace regard::api
