// Masks, cases and calls for the tests of regard/sdpa.h.
#pragma once

#include <cstdint>
#include <vector>

#include "regard/sdpa.h"
#include "tests/support/attention_judge.h"

namespace regard::testing {

// What the masks below broadcast to.
constexpr int64_t kBatch = 2, kHeads = 4, kQueries = 19, kKeys = 37;

// A mask's shape and what it holds; extents of 1 broadcast.
struct MaskShape {
  const char* name;
  bool is_boolean;
  std::vector<int64_t> shape;
};

// A mask in memory, contiguous, and what it stands for in full.
struct MaskMemory {
  MaskMemory(const MaskShape& form, uint32_t seed);
  // [B, H, L, S], by indices and nothing clever.
  std::vector<float> in_full() const;

  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;
  std::vector<float> floats;
  SdpaMask view;
};

BiasTensor full_bias(const std::vector<float>& values);

// `full` (which must outlive the case) stands in the Problem that the judge knows; empty = no mask.
AttentionCase sdpa_case(DType dtype, const std::vector<float>& full);

// A View in PyTorch's order; of rank 3 and 2 without the first axes, which must be 1.
SdpaTensor tensor_of(const View& view, int32_t rank = 4);

// Forward and backward over the judge's operands; d_mask where it is not null.
void run_sdpa(SdpaArguments arguments, const AttentionJudge& judge, AttentionResults& results,
              float* d_mask = nullptr, int32_t rank = 4);

}  // namespace regard::testing
