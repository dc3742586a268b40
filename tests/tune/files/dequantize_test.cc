// Expansion of stored values, judged by vectors made with the Python package gguf
// (tests/data/gguf/make_vectors.py) and by ldexp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "temp_folder.h"
#include "tune/files/atomic_write.h"
#include "tune/files/tensor_file.h"

namespace tune {
namespace {

using testing::HasSubstr;
using tune_test::data_path;
using tune_test::error_of;

StoredTensor tensor_over(const std::string& bytes, StoredType type, int64_t elements) {
  StoredTensor tensor;
  tensor.name = "t";
  tensor.type = type;
  tensor.shape = {elements};
  tensor.bytes = std::as_bytes(std::span(bytes));
  return tensor;
}

std::vector<float> as_floats(const std::string& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

struct BlockType {
  StoredType type;
  const char* file;
};

class DequantizeBlocks : public testing::TestWithParam<BlockType> {};

TEST_P(DequantizeBlocks, RandomBlocks_EqualReferenceBitForBit) {
  const auto [type, file] = GetParam();
  const std::string blocks = read_file(data_path(std::string("gguf/") + file + ".blocks"));
  const auto expected = as_floats(read_file(data_path(std::string("gguf/") + file + ".f32")));
  ASSERT_EQ(blocks.size() / static_cast<size_t>(block_bytes(type)) *
                static_cast<size_t>(block_values(type)),
            expected.size());
  const auto tensor = tensor_over(blocks, type, static_cast<int64_t>(expected.size()));
  std::vector<float> values(expected.size());
  dequantize(tensor, 0, values);
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(values[i]), std::bit_cast<uint32_t>(expected[i]))
        << "value " << i << ": " << values[i] << " instead of " << expected[i];
  }
}

TEST_P(DequantizeBlocks, Range_EqualsPartOfWhole) {
  const auto [type, file] = GetParam();
  const std::string blocks = read_file(data_path(std::string("gguf/") + file + ".blocks"));
  const auto expected = as_floats(read_file(data_path(std::string("gguf/") + file + ".f32")));
  const auto tensor = tensor_over(blocks, type, static_cast<int64_t>(expected.size()));
  const int64_t values = block_values(type);
  std::vector<float> part(static_cast<size_t>(2 * values));
  dequantize(tensor, 9 * values, part);
  for (size_t i = 0; i < part.size(); ++i) {
    ASSERT_EQ(part[i], expected[static_cast<size_t>(9 * values) + i]);
  }
  EXPECT_THAT(error_of([&] { dequantize(tensor, values / 2, part); }), HasSubstr("whole blocks"));
}

INSTANTIATE_TEST_SUITE_P(
    Types, DequantizeBlocks,
    testing::Values(BlockType{StoredType::q4_0, "q4_0"}, BlockType{StoredType::q4_1, "q4_1"},
                    BlockType{StoredType::q5_0, "q5_0"}, BlockType{StoredType::q5_1, "q5_1"},
                    BlockType{StoredType::q8_0, "q8_0"}, BlockType{StoredType::q4_k, "q4_k"},
                    BlockType{StoredType::q5_k, "q5_k"}, BlockType{StoredType::q6_k, "q6_k"}),
    [](const testing::TestParamInfo<BlockType>& tested) { return tested.param.file; });

// The definition: sign, 5 bits of exponent, 10 of mantissa.
float half_by_definition(uint32_t half) {
  const int exponent = static_cast<int>((half >> 10) & 31U);
  const int mantissa = static_cast<int>(half & 1023U);
  float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                              : std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
  if (exponent == 31) {
    value = mantissa == 0 ? std::numeric_limits<float>::infinity()
                          : std::numeric_limits<float>::quiet_NaN();
  }
  return (half & 0x8000U) != 0 ? -value : value;
}

TEST(Dequantize, EveryF16_IsExact) {
  std::vector<uint16_t> halves(65536);
  for (uint32_t i = 0; i < 65536; ++i) halves[i] = static_cast<uint16_t>(i);
  const std::string bytes(reinterpret_cast<const char*>(halves.data()), 2 * halves.size());
  std::vector<float> values(65536);
  dequantize(tensor_over(bytes, StoredType::f16, 65536), 0, values);
  for (uint32_t i = 0; i < 65536; ++i) {
    const float expected = half_by_definition(i);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(values[i])) << i;
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(values[i]), std::bit_cast<uint32_t>(expected)) << i;
    }
  }
}

TEST(Dequantize, Bf16_IsTheUpperHalfOfF32) {
  std::vector<uint16_t> stored = {0x0000, 0x8000, 0x3F80, 0xC020, 0x0001, 0x7F80, 0x7F7F};
  const std::string bytes(reinterpret_cast<const char*>(stored.data()), 2 * stored.size());
  std::vector<float> values(stored.size());
  dequantize(tensor_over(bytes, StoredType::bf16, 7), 0, values);
  EXPECT_EQ(values[2], 1.0F);
  EXPECT_EQ(values[3], -2.5F);
  EXPECT_TRUE(std::isinf(values[5]));
  for (size_t i = 0; i < stored.size(); ++i) {
    EXPECT_EQ(std::bit_cast<uint32_t>(values[i]) >> 16, stored[i]);
  }
}

TEST(Dequantize, F32AtOddAddress_IsReadUnaligned) {
  const std::vector<float> expected = {1.5F, -2.25F, 1e-40F};
  const std::string bytes = "x" + std::string(reinterpret_cast<const char*>(expected.data()), 12);
  StoredTensor tensor = tensor_over(bytes, StoredType::f32, 3);
  tensor.bytes = tensor.bytes.subspan(1);
  std::vector<float> values(3);
  dequantize(tensor, 0, values);
  EXPECT_EQ(values, expected);
}

TEST(Dequantize, F64_IsRounded) {
  const std::vector<double> stored = {0.1, -3.0};
  const std::string bytes(reinterpret_cast<const char*>(stored.data()), 16);
  std::vector<float> values(2);
  dequantize(tensor_over(bytes, StoredType::f64, 2), 0, values);
  EXPECT_EQ(values, (std::vector<float>{0.1F, -3.0F}));
}

TEST(Dequantize, IntegerType_IsRefused) {
  const std::string bytes(8, '\0');
  std::vector<float> values(1);
  EXPECT_THAT(error_of([&] { dequantize(tensor_over(bytes, StoredType::i64, 1), 0, values); }),
              HasSubstr("I64"));
}

TEST(Dequantize, MoreThanThereIs_IsRefused) {
  const std::string bytes(8, '\0');
  std::vector<float> values(3);
  EXPECT_THAT(error_of([&] { dequantize(tensor_over(bytes, StoredType::f32, 2), 0, values); }),
              HasSubstr("it has 2"));
  // A tensor whose shape promises more than its bytes hold.
  EXPECT_THAT(error_of([&] { dequantize(tensor_over(bytes, StoredType::f32, 3), 0, values); }),
              HasSubstr("do not hold"));
}

TEST(StoredBytes, Overflow_GivesNothing) {
  EXPECT_EQ(stored_bytes(StoredType::q4_1, 64), 40);
  EXPECT_EQ(stored_bytes(StoredType::q4_1, 65), std::nullopt);
  EXPECT_EQ(stored_bytes(StoredType::f64, INT64_MAX / 4), std::nullopt);
  EXPECT_EQ(checked_elements(std::vector<int64_t>{1LL << 32, 1LL << 31}), std::nullopt);
  EXPECT_EQ(checked_elements(std::vector<int64_t>{3, -1}), std::nullopt);
  EXPECT_EQ(checked_elements(std::vector<int64_t>{}), 1);
}

}  // namespace
}  // namespace tune
