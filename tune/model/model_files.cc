#include "tune/model/model_files.h"

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tune/error.h"
#include "tune/files/atomic_write.h"
#include "tune/files/safetensors.h"
#include "tune/model/lora.h"

namespace tune {
namespace {

using nlohmann::json;

struct Item {
  const Parameter* parameter = nullptr;
  const Linear* linear = nullptr;  // set for the weight of a linear layer: merges its adapter
};
using Shard = std::vector<Item>;

int64_t bytes_of(const Item& item, torch::Dtype dtype) {
  return item.parameter->num_elements() * static_cast<int64_t>(torch::elementSize(dtype));
}

std::vector<Shard> plan_shards(Decoder& decoder, torch::Dtype dtype, int64_t max_bytes) {
  std::vector<Shard> shards(1);
  int64_t filled = 0;
  decoder.for_each_parameter([&](Parameter& parameter, Linear* linear) {
    const Item item{&parameter, linear};
    const int64_t size = bytes_of(item, dtype);
    if (!shards.back().empty() && filled + size > max_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(item);
    filled += size;
  });
  return shards;
}

StoredType stored_type(torch::Dtype dtype) {
  if (dtype == torch::kBFloat16) return StoredType::bf16;
  if (dtype == torch::kFloat16) return StoredType::f16;
  if (dtype == torch::kFloat32) return StoredType::f32;
  throw Error("save_model writes float32, float16 and bfloat16 only");
}

void write_shard(const Shard& shard, const std::string& path, torch::Dtype dtype) {
  std::vector<torch::Tensor> values;  // keeps the bytes alive until they are written
  std::vector<TensorToWrite> tensors;
  for (const Item& item : shard) {
    const torch::Tensor full =
        item.linear != nullptr ? merged_weight(*item.linear) : item.parameter->as_f32();
    values.push_back(full.to(dtype).to(torch::kCPU).contiguous());
    tensors.push_back(
        {item.parameter->name,
         stored_type(dtype),
         item.parameter->shape,
         {static_cast<const std::byte*>(values.back().data_ptr()), values.back().nbytes()}});
  }
  write_safetensors(path, tensors);
}

std::string shard_name(size_t index, size_t count) {
  if (count == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return name;
}

std::string index_text(const std::vector<Shard>& shards, torch::Dtype dtype) {
  json map = json::object();
  int64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const Item& item : shards[i]) {
      map[item.parameter->name] = shard_name(i, shards.size());
      total += bytes_of(item, dtype);
    }
  }
  return json{{"metadata", {{"total_size", total}}}, {"weight_map", map}}.dump(2) + "\n";
}

const char* dtype_name(torch::Dtype dtype) {
  if (dtype == torch::kBFloat16) return "bfloat16";
  return dtype == torch::kFloat16 ? "float16" : "float32";
}

}  // namespace

void save_model_files(Decoder& decoder, const std::string& folder, torch::Dtype dtype,
                      int64_t max_shard_bytes) {
  const std::filesystem::path path(folder);
  std::filesystem::create_directories(path);
  const std::vector<Shard> shards = plan_shards(decoder, dtype, max_shard_bytes);
  for (size_t i = 0; i < shards.size(); ++i) {
    write_shard(shards[i], (path / shard_name(i, shards.size())).string(), dtype);
  }
  if (shards.size() > 1) {
    write_file_atomically((path / "model.safetensors.index.json").string(),
                          index_text(shards, dtype));
  }
  ModelConfig config = decoder.config;
  config.torch_dtype = dtype_name(dtype);
  write_file_atomically((path / "config.json").string(), model_config_to_json(config));
}

}  // namespace tune
