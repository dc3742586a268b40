#include "tune/train/base_content.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/tune/train/toy_run.h"
#include "tune/files/atomic_write.h"

namespace tune::testing {
namespace {

using ::testing::StartsWith;

// 64 MiB: far more than is read of it.
constexpr size_t kLargeBytes = size_t{64} << 20;

class BaseContent : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& content) {
    write_file_atomically(folder_ / name, content);
  }
  std::string content() const { return base_model_content(folder_.path()); }

  TempFolder folder_;
};

TEST_F(BaseContent, NothingThere_SaysSo) {
  EXPECT_EQ(base_model_content(folder_ / "none"), "not found");
}

TEST_F(BaseContent, SmallFiles_AreReadWhole) {
  std::set<std::string> seen;
  for (const auto& [config, weights] : {std::pair("{}", "abc"), std::pair("{ }", "abc"),
                                        std::pair("{}", "abd"), std::pair("{}", "ab")}) {
    write("config.json", config);
    write("model.safetensors", weights);
    EXPECT_THAT(content(), StartsWith("2 files, "));
    EXPECT_TRUE(seen.insert(content()).second) << config << weights;
  }
}

TEST_F(BaseContent, FilesThatAreNoPartOfTheModel_DoNotCount) {
  write("config.json", "{}");
  write("model.safetensors", "abc");
  const std::string before = content();
  write("adapter_model.safetensors", "adapter");
  write("consolidated.safetensors", "another");
  write("README.md", "text");
  EXPECT_EQ(content(), before);
}

TEST_F(BaseContent, Shards_AreThoseOfTheIndex) {
  write("config.json", "{}");
  write(
      "model.safetensors.index.json",
      R"({"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors", "c": "part-1.safetensors"}})");
  write("part-1.safetensors", "one");
  write("part-2.safetensors", "two");
  const std::string before = content();
  EXPECT_THAT(before, StartsWith("4 files, "));
  write("part-2.safetensors", "twO");
  EXPECT_NE(content(), before);
}

TEST_F(BaseContent, LargeFile_ChangedStretchesAreSeen) {
  const std::string path = folder_ / "model.gguf";
  std::string bytes(kLargeBytes, 'w');
  bytes.replace(0, 4, "GGUF");
  const auto content_with = [&](size_t offset, size_t size) {
    std::string changed = bytes;
    changed.replace(offset, size, size, 'x');
    write_file_atomically(path, changed);
    return base_model_content(path);
  };
  const std::string before = content_with(0, 0);
  EXPECT_THAT(before, StartsWith("1 file, 67108864 bytes, "));
  EXPECT_EQ(content_with(0, 0), before);
  const size_t stretch = kLargeBytes / 1024;
  EXPECT_NE(content_with(1000, 1), before) << "in the header";
  EXPECT_NE(content_with(kLargeBytes - 1, 1), before) << "the last byte";
  for (const size_t offset : {size_t{1} << 20, size_t{12'345'678}, kLargeBytes - stretch})
    EXPECT_NE(content_with(offset, stretch), before) << "from byte " << offset;
}

}  // namespace
}  // namespace tune::testing
