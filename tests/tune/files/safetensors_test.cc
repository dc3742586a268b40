#include "tune/files/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
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
using tune_test::raw;
using tune_test::TempFolder;

std::string file_of(const std::string& header, size_t data_bytes) {
  return raw<uint64_t>(header.size()) + header + std::string(data_bytes, '\x01');
}

struct Malformed {
  const char* name;
  std::string content;
  const char* message;
};

std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"a":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets +
         "}}";
}

std::string two(const std::string& first, const std::string& second) {
  return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + first +
         R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}";
}

// Every way in which a header can lie, and the words that must tell it.
const std::vector<Malformed>& corpus() {
  static const std::vector<Malformed> kCorpus = {
      {"Empty", "", "0 bytes"},
      {"ShorterThanLength", "abc", "has 3 bytes"},
      {"LengthOnly", raw<uint64_t>(0), "not a JSON object"},
      {"LengthBeyondFile", raw<uint64_t>(1000) + "{}", "truncated"},
      {"LengthHuge", raw<uint64_t>(UINT64_MAX) + "{}", "at most 100000000"},
      {"LengthWrapsAround", raw<uint64_t>(UINT64_MAX - 7) + "{}", "at most 100000000"},
      {"NotJson", file_of("{nonsense", 0), "not JSON"},
      {"JsonList", file_of("[1,2]", 0), "not a JSON object"},
      {"LeadingSpace", file_of(" {}", 0), "not a JSON object"},
      {"NotUtf8", file_of("{\"\xff\xfe\":1}", 0), "not UTF-8"},
      {"TextAfterHeader", file_of("{} x", 0), "not JSON"},
      {"DuplicateName",
       file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
               R"("a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
               8),
       "\"a\" appears twice"},
      {"DuplicateKeyInTensor",
       file_of(R"({"a":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]}})", 4),
       "\"dtype\" appears twice"},
      {"TooDeep", file_of(R"({"a":)" + std::string(100, '[') + std::string(100, ']') + "}", 0),
       "deeper than 32"},
      {"TensorNoObject", file_of(R"({"a":3})", 0), "exactly dtype, shape and data_offsets"},
      {"ShapeMissing", file_of(R"({"a":{"dtype":"U8","data_offsets":[0,4]}})", 4), "exactly dtype"},
      {"UnknownMember",
       file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1}})", 4),
       "exactly dtype"},
      {"UnknownDtype", file_of(one("\"F4\"", "[1]", "[0,4]"), 4), "dtype \"F4\""},
      {"DtypeNumber", file_of(one("4", "[1]", "[0,4]"), 4), "dtype 4"},
      {"ShapeNegative", file_of(one("\"F32\"", "[-1]", "[0,4]"), 4), "holds -1"},
      {"ShapeFraction", file_of(one("\"F32\"", "[1.5]", "[0,4]"), 4), "holds 1.5"},
      {"ShapeText", file_of(one("\"F32\"", "\"1\"", "[0,4]"), 4), "not a list"},
      {"ShapeBeyond63Bits", file_of(one("\"F32\"", "[18446744073709551615]", "[0,4]"), 4),
       "whole numbers"},
      {"ShapeOverflow", file_of(one("\"F32\"", "[4294967296,4294967296]", "[0,4]"), 4),
       "does not fill"},
      {"BytesOverflow", file_of(one("\"F64\"", "[2305843009213693953]", "[0,8]"), 8),
       "does not fill"},
      {"ShapeNotRange", file_of(one("\"F32\"", "[2]", "[0,4]"), 4), "does not fill its 4 bytes"},
      {"RangeFalling", file_of(one("\"F32\"", "[1]", "[4,0]"), 4), "rising"},
      {"RangeThree", file_of(one("\"F32\"", "[1]", "[0,4,8]"), 4), "rising"},
      {"RangeBeyondFile", file_of(one("\"F32\"", "[2]", "[0,8]"), 4), "truncated"},
      {"Overlap", file_of(two("[0,4]", "[2,6]"), 6), "inside the one before"},
      {"SameRange", file_of(two("[0,4]", "[0,4]"), 4), "inside the one before"},
      {"Hole", file_of(two("[0,4]", "[6,10]"), 10), "after a hole"},
      {"HoleInFront", file_of(one("\"U8\"", "[4]", "[2,6]"), 6), "after a hole"},
      {"BytesLeftOver", file_of(one("\"U8\"", "[4]", "[0,4]"), 9), "the file has 9"},
      {"MetadataNumber", file_of(R"({"__metadata__":{"a":1}})", 0), "not a text"},
      {"MetadataList", file_of(R"({"__metadata__":[]})", 0), "__metadata__ is not an object"},
  };
  return kCorpus;
}

TEST(OpenSafetensors, MalformedFile_SaysWhatIsWrong) {
  const TempFolder folder;
  for (const Malformed& bad : corpus()) {
    SCOPED_TRACE(bad.name);
    const std::string path = folder.write(bad.name, bad.content);
    const std::string message = error_of([&] { open_safetensors(path); });
    EXPECT_THAT(message, HasSubstr(bad.message));
    EXPECT_THAT(message, HasSubstr(path));
  }
}

TEST(OpenSafetensors, EveryTruncation_IsAnError) {
  const TempFolder folder;
  const std::string whole =
      read_file(data_path("models/tiny-llama-tied/"
                          "model-00003-of-00003.safetensors"));
  for (size_t size = 0; size < whole.size(); size += size < 2000 ? 1 : 97) {
    const std::string path = folder.write("cut", whole.substr(0, size));
    EXPECT_THROW(open_safetensors(path), Error) << size;
  }
}

TEST(OpenSafetensors, MissingFolderAndPipe_SayWhy) {
  const TempFolder folder;
  EXPECT_THAT(error_of([&] { open_safetensors(folder / "none"); }), HasSubstr("no such file"));
  EXPECT_THAT(error_of([&] { open_safetensors(folder.path()); }), HasSubstr("it is a folder"));
  EXPECT_THAT(error_of([&] { open_safetensors("/dev/null"); }), HasSubstr("not a regular file"));
}

TEST(OpenSafetensors, EmptyTensorsAndScalar_AreRead) {
  const TempFolder folder;
  const std::string header = R"({"e":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},)"
                             R"("s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})";
  const auto file = open_safetensors(folder.write("f", file_of(header, 4)));
  EXPECT_EQ(file->find("e")->num_elements(), 0);
  EXPECT_EQ(file->find("s")->num_elements(), 1);
  EXPECT_EQ(file->find("x"), nullptr);
}

TEST(WriteSafetensors, AllTypes_ReadBackTheSame) {
  const TempFolder folder;
  std::vector<std::byte> bytes(64);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  std::vector<TensorToWrite> tensors;
  for (const StoredType type :
       {StoredType::u8, StoredType::f32, StoredType::f16, StoredType::bf16, StoredType::f64,
        StoredType::i8, StoredType::i16, StoredType::i32, StoredType::i64, StoredType::boolean}) {
    const auto size = static_cast<size_t>(3 * block_bytes(type));
    tensors.push_back(
        {"t." + std::string(stored_type_name(type)), type, {3, 1}, std::span(bytes).first(size)});
  }
  const std::string path = folder / "out.safetensors";
  write_safetensors(path, tensors);
  const auto file = open_safetensors(path);
  EXPECT_EQ(file->names().size(), tensors.size());
  for (const TensorToWrite& written : tensors) {
    const StoredTensor* read = file->find(written.name);
    ASSERT_NE(read, nullptr);
    EXPECT_EQ(read->type, written.type);
    EXPECT_EQ(read->shape, written.shape);
    EXPECT_TRUE(std::equal(read->bytes.begin(), read->bytes.end(), written.bytes.begin(),
                           written.bytes.end()));
    // Every tensor lies aligned for its type, so that others may map it too.
    EXPECT_EQ(reinterpret_cast<uintptr_t>(read->bytes.data()) %
                  static_cast<uintptr_t>(block_bytes(written.type)),
              0U);
  }
}

TEST(WriteSafetensors, FileOfTransformers_IsReproducedByteForByte) {
  const std::string path = data_path("models/tiny-qwen2/model.safetensors");
  const auto original = open_safetensors(path);
  std::vector<TensorToWrite> tensors;
  for (const std::string& name : original->names()) {
    const StoredTensor* tensor = original->find(name);
    tensors.push_back({name, tensor->type, tensor->shape, tensor->bytes});
  }
  const TempFolder folder;
  write_safetensors(folder / "copy", tensors);
  EXPECT_EQ(read_file(folder / "copy"), read_file(path));
}

TEST(WriteSafetensors, WrongTensors_AreRefusedAndNothingIsWritten) {
  const TempFolder folder;
  const std::vector<float> values(4);
  const auto bytes = std::as_bytes(std::span(values));
  const auto write = [&](std::vector<TensorToWrite> tensors) {
    return error_of([&] { write_safetensors(folder / "f", tensors); });
  };
  EXPECT_THAT(write({{"a", StoredType::f32, {5}, bytes}}), HasSubstr("16 bytes given"));
  EXPECT_THAT(write({{"a", StoredType::q4_0, {32}, bytes}}), HasSubstr("Q4_0"));
  EXPECT_THAT(write({{"__metadata__", StoredType::f32, {4}, bytes}}), HasSubstr("not allowed"));
  EXPECT_THAT(write({{"\xff", StoredType::f32, {4}, bytes}}), HasSubstr("not allowed"));
  EXPECT_THAT(write({{"a", StoredType::f32, {4}, bytes}, {"a", StoredType::f32, {4}, bytes}}),
              HasSubstr("twice"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(OpenSafetensorsFolder, Shards_AreOneFile) {
  const std::string folder = data_path("models/tiny-llama-tied");
  const auto file = open_safetensors_folder(folder);
  EXPECT_EQ(file->names().size(), 20U);
  EXPECT_EQ(file->find("model.norm.weight")->shape, (std::vector<int64_t>{32}));
  EXPECT_EQ(file->find("model.embed_tokens.weight")->shape, (std::vector<int64_t>{40, 32}));
}

class BrokenShards : public testing::Test {
 protected:
  BrokenShards() {
    std::filesystem::copy(data_path("models/tiny-llama-tied"), folder_.path());
    index_ = read_file(folder_ / "model.safetensors.index.json");
  }
  std::string open_with(const std::string& from, const std::string& to) {
    std::string changed = index_;
    const size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos);
    changed.replace(at, from.size(), to);
    folder_.write("model.safetensors.index.json", changed);
    return error_of([&] { open_safetensors_folder(folder_.path()); });
  }
  TempFolder folder_;
  std::string index_;
};

TEST_F(BrokenShards, MissingShard_IsNamed) {
  std::filesystem::remove(folder_ / "model-00002-of-00003.safetensors");
  const std::string message = error_of([&] { open_safetensors_folder(folder_.path()); });
  EXPECT_THAT(message, HasSubstr("model-00002-of-00003.safetensors is missing"));
}

TEST_F(BrokenShards, LyingIndex_IsAnError) {
  EXPECT_THAT(open_with("model.norm.weight", "model.norm.bias"),
              HasSubstr("\"model.norm.bias\" should be in"));
  EXPECT_THAT(open_with("\"weight_map\"", "\"weights\""), HasSubstr("weight_map"));
  EXPECT_THAT(open_with("\"model-00001", "\"../model-00001"), HasSubstr("without folders"));
  EXPECT_THAT(open_with("\"model-00001-of-00003.safetensors\"", "7"), HasSubstr("is 7"));
  EXPECT_THAT(open_with("{", "["), HasSubstr("not JSON"));
}

TEST(OpenSafetensorsFolder, NoWeights_SaysWhatIsNeeded) {
  const TempFolder folder;
  EXPECT_THAT(error_of([&] { open_safetensors_folder(folder.path()); }),
              HasSubstr("neither model.safetensors"));
  folder.write("pytorch_model.bin", "x");
  EXPECT_THAT(error_of([&] { open_safetensors_folder(folder.path()); }),
              HasSubstr("save the model as safetensors"));
}

}  // namespace
}  // namespace tune
