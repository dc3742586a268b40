// Mutated files must give an error or a model, never a crash: bytes are changed, cut, doubled, and
// numbers are replaced by extreme ones. Bounded by time; the seed is printed and fixed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "temp_folder.h"
#include "tune/files/atomic_write.h"
#include "tune/files/gguf.h"
#include "tune/files/model_config.h"
#include "tune/files/safetensors.h"

namespace tune {
namespace {

using tune_test::data_path;
using tune_test::TempFolder;

constexpr auto kTime = std::chrono::milliseconds(1500);  // of each test

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  // `header_bytes`: most changes go where the structure is.
  std::string mutate(std::string bytes, size_t header_bytes) {
    const size_t changes = 1 + below(4);
    for (size_t i = 0; i < changes && !bytes.empty(); ++i) {
      const size_t range = below(8) == 0 ? bytes.size() : std::min(bytes.size(), header_bytes);
      change(bytes, below(range));
    }
    return bytes;
  }

 private:
  size_t below(size_t limit) {
    return std::uniform_int_distribution<size_t>(0, limit - 1)(random_);
  }

  void change(std::string& bytes, size_t at) {
    static constexpr uint64_t kExtremes[] = {0,          1,          0x7F,           0xFF,
                                             0x7FFFFFFF, 0xFFFFFFFF, 1ULL << 32,     1ULL << 62,
                                             INT64_MAX,  UINT64_MAX, UINT64_MAX - 31};
    switch (below(6)) {
      case 0:
        bytes[at] = static_cast<char>(below(256));
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 2: {
        const uint64_t extreme = kExtremes[below(std::size(kExtremes))];
        const size_t width = std::min<size_t>(bytes.size() - at, size_t{1} << below(4));
        std::memcpy(bytes.data() + at, &extreme, width);
        break;
      }
      case 3:
        bytes.resize(at);
        break;
      case 4:
        bytes.insert(at, bytes.substr(at, below(32) + 1));
        break;
      default:
        bytes.erase(at, below(16) + 1);
    }
  }

  std::mt19937 random_;
};

// Touches all that an opened file offers, so that a sanitizer sees what lies outside.
void read_everything(const TensorFile& file) {
  for (const std::string& name : file.names()) {
    const StoredTensor& tensor = *file.find(name);
    const int64_t elements = tensor.num_elements();
    ASSERT_LT(elements, 1 << 20);  // the files are small: more would be a lie that was believed
    std::vector<float> values(static_cast<size_t>(elements));
    try {
      dequantize(tensor, 0, values);
    } catch (const Error&) {  // integers
    }
  }
}

struct Counts {
  int opened = 0, refused = 0;
};

template <typename Open>
Counts fuzz(const std::string& original, size_t header_bytes, uint32_t seed, Open open) {
  const TempFolder folder;
  Mutator mutator(seed);
  Counts counts;
  const auto end = std::chrono::steady_clock::now() + kTime;
  while (std::chrono::steady_clock::now() < end && !testing::Test::HasFatalFailure()) {
    const std::string path = folder.write("f", mutator.mutate(original, header_bytes));
    try {
      open(path);
      ++counts.opened;
    } catch (const Error&) {
      ++counts.refused;
    }
  }
  return counts;
}

void expect_both(const Counts& counts) {
  EXPECT_GT(counts.refused, 20);  // mutations that break nothing would test nothing
  EXPECT_GT(counts.opened, 0);
}

TEST(Fuzz, Gguf_ErrorOrFile) {
  const std::string original = read_file(data_path("models/tiny-llama.gguf"));
  expect_both(fuzz(original, 3500, 11, [](const std::string& path) {
    const auto file = GgufFile::open(path);
    read_everything(*file);
    for (const std::string& key : file->keys()) {
      const GgufValue& value = *file->value(key);
      if (value.is_array && value.type == GgufType::string) file->strings(key);
      if (!value.is_array && value.type == GgufType::string) file->string(key);
    }
    model_config_from_gguf(*file);
  }));
}

TEST(Fuzz, Safetensors_ErrorOrFile) {
  const std::string original =
      read_file(data_path("models/tiny-llama-tied/model-00003-of-00003.safetensors"));
  expect_both(fuzz(original, 1200, 12,
                   [](const std::string& path) { read_everything(*open_safetensors(path)); }));
}

TEST(Fuzz, ConfigJson_ErrorOrConfig) {
  const std::string original = read_file(data_path("models/tiny-qwen3/config.json"));
  expect_both(fuzz(original, original.size(), 13, [](const std::string& path) {
    const ModelConfig config = parse_model_config(read_file(path), path);
    parse_model_config(model_config_to_json(config), "written");
  }));
}

}  // namespace
}  // namespace tune
