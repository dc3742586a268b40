// A whole model on disk, as Transformers reads it.
#pragma once

#include <torch/types.h>

#include <string>

#include "tune/model/decoder.h"

namespace tune {

// model.safetensors, or model-00001-of-0000N.safetensors with an index when more than
// `max_shard_bytes`, and config.json. Adapters are merged in. dtype: f32, f16 or bf16.
void save_model_files(Decoder& decoder, const std::string& folder, torch::Dtype dtype,
                      int64_t max_shard_bytes);

}  // namespace tune
