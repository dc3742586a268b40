// Planner of attn_append: what a cache call does before it attends. Touches no GPU, and reads none
// of the arguments' memory.
#pragma once

#include <string>

#include "gpu/plan/grid.h"
#include "gpu/plan/problem_params.h"

namespace regard::gpu {

// Beside the Problem that attends afterwards: pages, its k and v the cache (written here), its q
// not yet rotated.
struct Appended {
  View k{}, v{};  // new keys and values [B, Snew, Hkv, .]; packed: [1, total, Hkv, .]
  const int32_t* offsets = nullptr;      // packed: [documents + 1]
  const int32_t* old_lengths = nullptr;  // [sequences]: rows in the cache before, padding included
};

struct RotaryPositions {
  const void* cos = nullptr;  // [positions, dim / 2]; null = nothing is rotated
  const void* sin = nullptr;
  DType dtype = DType::f32;
  int64_t dim = 0;
  bool is_interleaved = true;
  const int32_t* first = nullptr;   // position of the first new token; null = old_lengths
  bool has_query_positions = true;  // else all queries have that of the first new token
};

// Empty when attn_append serves the call on a GPU of this compute capability; else a sentence.
std::string why_unsupported_attn_append(const Problem& problem, int compute_capability);

struct AttnAppendPlan {
  AttnConfig config;
  AttnAppendParams params;
  Grid grid{};
};

// `rotated_q` has the shape of q; no memory: queries are not rotated.
AttnAppendPlan plan_attn_append(const Problem& problem, const Appended& appended,
                                const RotaryPositions& rotary, const View& rotated_q);

}  // namespace regard::gpu
