#include "tune/files/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gguf_builder.h"
#include "temp_folder.h"
#include "tune/files/atomic_write.h"

namespace tune {
namespace {

using testing::HasSubstr;
using tune_test::data_path;
using tune_test::error_of;
using tune_test::gguf_string;
using tune_test::GgufBuilder;
using tune_test::raw;
using tune_test::TempFolder;

constexpr uint32_t kF32 = 0, kQ8 = 8, kQ2K = 10;

TEST(GgufFile, AllMetadataTypes_AreRead) {
  GgufBuilder builder;
  builder.entry("u8", GgufType::uint8, raw<uint8_t>(200))
      .entry("i8", GgufType::int8, raw<int8_t>(-3))
      .entry("u16", GgufType::uint16, raw<uint16_t>(60000))
      .entry("i16", GgufType::int16, raw<int16_t>(-300))
      .u32("u32", 4000000000U)
      .entry("i32", GgufType::int32, raw<int32_t>(-70000))
      .f32("f32", 0.25F)
      .entry("yes", GgufType::boolean, raw<uint8_t>(1))
      .text("text", "caf\xc3\xa9")
      .entry("u64", GgufType::uint64, raw<uint64_t>(1ULL << 40))
      .entry("i64", GgufType::int64, raw<int64_t>(-5))
      .entry("f64", GgufType::float64, raw(1e-300))
      .array("words", GgufType::string, 3, gguf_string("a") + gguf_string("") + gguf_string("ccc"))
      .array("ints", GgufType::int16, 2, raw<int16_t>(-1) + raw<int16_t>(7))
      .array("bools", GgufType::boolean, 2, std::string("\1\0", 2))
      .array("floats", GgufType::float32, 2, raw(1.5F) + raw(-2.0F))
      .array("none", GgufType::string, 0, "");
  const TempFolder folder;
  const auto file = GgufFile::open(folder.write("f.gguf", builder.build()));
  EXPECT_EQ(file->integer("u8"), 200);
  EXPECT_EQ(file->integer("i8"), -3);
  EXPECT_EQ(file->integer("u16"), 60000);
  EXPECT_EQ(file->integer("i16"), -300);
  EXPECT_EQ(file->integer("u32"), 4000000000);
  EXPECT_EQ(file->integer("i32"), -70000);
  EXPECT_EQ(file->number("f32"), 0.25);
  EXPECT_EQ(file->number("i32"), -70000.0);
  EXPECT_EQ(file->boolean("yes"), true);
  EXPECT_EQ(file->string("text"), "caf\xc3\xa9");
  EXPECT_EQ(file->integer("u64"), 1LL << 40);
  EXPECT_EQ(file->integer("i64"), -5);
  EXPECT_EQ(file->number("f64"), 1e-300);
  EXPECT_EQ(file->strings("words"), (std::vector<std::string_view>{"a", "", "ccc"}));
  EXPECT_EQ(file->integers("ints"), (std::vector<int64_t>{-1, 7}));
  EXPECT_EQ(file->integers("bools"), (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(file->numbers("floats"), (std::vector<double>{1.5, -2.0}));
  EXPECT_TRUE(file->strings("none").empty());
  EXPECT_EQ(file->keys().size(), 17U);
  EXPECT_EQ(file->keys().front(), "u8");
}

TEST(GgufFile, AbsentOrOtherType_IsNulloptOrError) {
  GgufBuilder builder;
  builder.u32("n", 3).text("t", "x").array("a", GgufType::int32, 1, raw<int32_t>(1));
  const TempFolder folder;
  const auto file = GgufFile::open(folder.write("f.gguf", builder.build()));
  EXPECT_FALSE(file->has_key("zzz"));
  EXPECT_EQ(file->integer("zzz"), std::nullopt);
  EXPECT_TRUE(file->strings("zzz").empty());
  EXPECT_THAT(error_of([&] { file->string("n"); }),
              HasSubstr("n is of type uint32, expected a string"));
  EXPECT_THAT(error_of([&] { file->integer("t"); }), HasSubstr("expected an integer"));
  EXPECT_THAT(error_of([&] { file->integer("a"); }), HasSubstr("an array of int32"));
  EXPECT_THAT(error_of([&] { file->boolean("n"); }), HasSubstr("expected a boolean"));
  EXPECT_THAT(error_of([&] { file->strings("a"); }), HasSubstr("an array of strings"));
  EXPECT_THAT(error_of([&] { file->integers("n"); }), HasSubstr("an array of integers"));
  EXPECT_THAT(error_of([&] { file->numbers("t"); }), HasSubstr("an array of numbers"));
}

TEST(GgufFile, VersionTwoAndOtherAlignment_AreRead) {
  GgufBuilder builder;
  builder.version = 2;
  builder.alignment = 64;
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  builder.u32("general.alignment", 64)
      .tensor("a", {3, 2}, kF32, tune_test::floats(values))
      .tensor("b", {}, kF32, raw(9.0F));
  const TempFolder folder;
  const auto file = GgufFile::open(folder.write("f.gguf", builder.build()));
  EXPECT_EQ(file->version(), 2U);
  EXPECT_EQ(file->alignment(), 64U);
  ASSERT_NE(file->find("a"), nullptr);
  EXPECT_EQ(file->find("a")->shape, (std::vector<int64_t>{2, 3}));
  std::vector<float> read(6);
  dequantize(*file->find("a"), 0, read);
  EXPECT_EQ(read, values);
  read.resize(1);
  dequantize(*file->find("b"), 0, read);
  EXPECT_EQ(read[0], 9.0F);
  EXPECT_EQ(file->names(), (std::vector<std::string>{"a", "b"}));
}

struct Malformed {
  const char* name;
  std::string content;
  const char* message;
};

std::vector<Malformed> broken_headers() {
  GgufBuilder v1, v4, big_endian, valid;
  v1.version = 1;
  v4.version = 4;
  big_endian.version = 0x03000000;
  valid.u32("n", 3);
  return {
      {"Empty", "", "0 bytes"},
      {"NoMagic", "GGML" + std::string(40, '\0'), "letters GGUF"},
      {"MagicOnly", "GGUF", "truncated"},
      {"Version1", v1.build(), "version 1;"},
      {"Version4", v4.build(), "version 4;"},
      {"BigEndian", big_endian.build(), "big-endian"},
      {"EntriesBeyondFile", valid.build(0, 1ULL << 60), "more than its"},
      {"TensorsBeyondFile", valid.build(UINT64_MAX, 1), "more than its"},
      {"OneEntryTooMany", valid.build(0, 2), "metadata key 1 is empty"},
      {"EmptyKey", GgufBuilder().u32("", 1).build(), "is empty"},
      {"KeyNotUtf8", GgufBuilder().u32("\xc3(", 1).build(), "not UTF-8"},
      {"DuplicateKey", GgufBuilder().u32("a", 1).u32("a", 2).build(), "key a appears twice"},
      {"UnknownType", GgufBuilder().entry("a", static_cast<GgufType>(13), raw(1)).build(),
       "unknown type 13"},
      {"StringBeyondFile",
       GgufBuilder().entry("a", GgufType::string, raw<uint64_t>(UINT64_MAX)).build(), "truncated"},
      {"ArrayBeyondFile", GgufBuilder().array("a", GgufType::uint64, 1ULL << 61, "").build(),
       "elements in a"},
      {"StringsBeyondFile", GgufBuilder().array("a", GgufType::string, 1ULL << 61, "").build(),
       "strings in a"},
      {"ArraysBeyondFile", GgufBuilder().array("a", GgufType::array, 1ULL << 61, "").build(),
       "arrays in a"},
      {"BooleanTwo", GgufBuilder().entry("a", GgufType::boolean, "\2").build(), "neither 0 nor 1"},
      {"AlignmentZero", GgufBuilder().u32("general.alignment", 0).build(), "power of two"},
      {"AlignmentThree", GgufBuilder().u32("general.alignment", 24).build(), "is 24"},
      {"AlignmentText", GgufBuilder().text("general.alignment", "x").build(), "an integer"},
  };
}

std::vector<Malformed> broken_tensors() {
  const std::string four = raw(1.0F), block(34, '\1');
  std::string cut = GgufBuilder().tensor("a", {64}, kF32, std::string(256, '\1')).build();
  cut.resize(cut.size() - 32);
  return {
      {"Truncated", cut, "truncated"},
      {"OffsetBeyondFile", GgufBuilder().tensor_at("a", {1}, kF32, 1ULL << 40, four).build(),
       "beyond the file"},
      {"OffsetWrapsAround", GgufBuilder().tensor_at("a", {1}, kF32, UINT64_MAX - 31, four).build(),
       "beyond the file"},
      {"OffsetUnaligned", GgufBuilder().tensor_at("a", {1}, kF32, 4, four).build(),
       "not a multiple of the alignment"},
      {"ShapeOverflow", GgufBuilder().tensor("a", {1ULL << 32, 1ULL << 32}, kF32, four).build(),
       "impossible shape"},
      {"ShapeNegative", GgufBuilder().tensor("a", {UINT64_MAX}, kF32, four).build(),
       "impossible shape"},
      {"BytesOverflow", GgufBuilder().tensor("a", {1ULL << 62}, kF32, four).build(),
       "whole blocks"},
      {"FiveDimensions", GgufBuilder().tensor("a", {1, 1, 1, 1, 1}, kF32, four).build(),
       "at most 4"},
      {"RowNotWholeBlocks", GgufBuilder().tensor("a", {16, 2}, kQ8, block).build(),
       "whole blocks of 32"},
      {"TypeNotRead", GgufBuilder().tensor("a", {256}, kQ2K, block).build(), "stored as Q2_K"},
      {"TypeUnknown", GgufBuilder().tensor("a", {256}, 99, block).build(), "ggml type 99"},
      {"DuplicateTensor",
       GgufBuilder().tensor("a", {1}, kF32, four).tensor("a", {1}, kF32, four).build(),
       "tensor a appears twice"},
      {"Overlap",
       GgufBuilder()
           .tensor("a", {16}, kF32, std::string(64, '\1'))
           .tensor_at("b", {16}, kF32, 32, std::string(64, '\1'))
           .build(),
       "a and b overlap"},
      {"EmptyName", GgufBuilder().tensor("", {1}, kF32, four).build(), "is empty"},
  };
}

void expect_errors(const std::vector<Malformed>& corpus) {
  const TempFolder folder;
  for (const Malformed& bad : corpus) {
    SCOPED_TRACE(bad.name);
    const std::string path = folder.write(bad.name, bad.content);
    const std::string message = error_of([&] { GgufFile::open(path)->integer("x"); });
    EXPECT_THAT(message, HasSubstr(bad.message));
    EXPECT_THAT(message, HasSubstr(path));
  }
}

TEST(GgufFile, BrokenHeader_SaysWhatIsWrong) { expect_errors(broken_headers()); }

TEST(GgufFile, BrokenTensor_SaysWhatIsWrong) { expect_errors(broken_tensors()); }

TEST(GgufFile, DeeplyNestedArrays_AreRefused) {
  const auto array_of = [](uint64_t depth) {
    std::string bytes;
    for (uint64_t i = 0; i < depth; ++i) {
      bytes += raw(static_cast<uint32_t>(GgufType::array)) + raw<uint64_t>(1);
    }
    return bytes + raw(static_cast<uint32_t>(GgufType::uint8)) + raw<uint64_t>(1) + "x";
  };
  const TempFolder folder;
  const auto open_depth = [&](uint64_t depth) {
    GgufBuilder builder;
    builder.entry("a", GgufType::array, array_of(depth));
    return GgufFile::open(folder.write("f", builder.build()));
  };
  EXPECT_EQ(open_depth(2)->value("a")->type, GgufType::array);
  EXPECT_THAT(error_of([&] { open_depth(2)->integers("a"); }), HasSubstr("an array of array"));
  EXPECT_THAT(error_of([&] { open_depth(100); }), HasSubstr("nests arrays"));
}

TEST(GgufFile, EveryTruncation_IsAnError) {
  const TempFolder folder;
  const std::string whole = read_file(data_path("models/tiny-mistral.gguf"));
  for (size_t size = 0; size + 32 < whole.size(); size += size < 4000 ? 7 : 331) {
    const std::string path = folder.write("cut", whole.substr(0, size));
    EXPECT_THROW(GgufFile::open(path), Error) << size;
  }
}

}  // namespace
}  // namespace tune
