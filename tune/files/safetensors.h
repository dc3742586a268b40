// safetensors: 8 bytes of header length, a JSON header, raw little-endian tensors.
// Format: https://github.com/huggingface/safetensors#format
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tune/files/tensor_file.h"

namespace tune {

// Opens one file and checks its header completely: a truncated, overlapping or lying file is a
// tune::Error.
std::unique_ptr<TensorFile> open_safetensors(const std::string& path);
// Opens model.safetensors or the shards of model.safetensors.index.json in a folder.
std::unique_ptr<TensorFile> open_safetensors_folder(const std::string& folder);

struct TensorToWrite {
  std::string name;
  StoredType type = StoredType::f32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

// Writes aside (see atomic_write.h), syncs, renames; a failure leaves what was there before and
// throws tune::Error.
void write_safetensors(const std::string& path, std::span<const TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace tune
