// Keys and values of a sequence under generation.
#pragma once

#include <torch/types.h>

#include <span>
#include <vector>

#include "tune/model/decoder.h"

namespace tune {

class KvCache {
 public:
  KvCache(const ModelConfig& config, const torch::TensorOptions& options, int64_t max_tokens);

  int64_t length = 0;  // tokens in the cache
  int64_t capacity = 0;
  std::vector<torch::Tensor> k, v;  // one a layer, [capacity, Hkv*D]; keys are rotated
};

// Logits [vocab] f32 in main memory after `ids`, which are appended. Throws tune::Error when they
// do not fit.
torch::Tensor decode(const Decoder& decoder, const ForwardOptions& options,
                     std::span<const int32_t> ids, KvCache& cache);

}  // namespace tune
