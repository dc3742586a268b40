// How a decode call is cut: row groups that share one reading of their keys, and parts of their
// keys. Nothing here depends on the number of threads, so results cannot either.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/attn_fwd_cpu.h"
#include "cpu/tile_plan.h"

namespace regard::cpu {

// Merged rows (query * group + head in group) that share a pass over their keys: two register tiles
// of 4 rows. A 16-bit block of keys is then widened once for both.
inline constexpr int64_t kDecodeRows = 8;
// Keys whose scores are computed before their values are read: 64 rows of 128 f32 are 32 KiB, so a
// widened block stays in the first-level cache with its scores.
inline constexpr int64_t kDecodeKeys = 64;

// Rows [first_row, first_row + num_rows) of a unit with the keys that some of them sees. Its parts
// are parts [first_part, first_part + num_parts) of the plan.
struct RowGroup {
  size_t unit = 0;
  int64_t first_row = 0, num_rows = 0;
  core::KeyInterval live;
  size_t first_part = 0, num_parts = 0;
};

// Keys of one row group that one task reads.
struct KeyPart {
  size_t group = 0;
  core::KeyInterval keys;
};

struct DecodePlan {
  std::vector<Unit> units;
  std::vector<RowGroup> groups;
  std::vector<KeyPart> parts;
};

// Above it packing K and V once for all rows is cheaper than widening them for every eight.
inline constexpr int64_t kMostDecodeRows = 32;

// Merged rows of the sequence that has most.
int64_t most_decode_rows(const Problem& problem);

// Every group has at least one part. Parts are as many keys as make about 256 of them, at least
// 256 keys each: enough for many threads, few enough that merging costs under 1 % of reading.
DecodePlan decode_plan(const Problem& problem);

// Runs the decode kernel on the chosen SIMD target. Throws Error(out_of_memory).
void attn_decode_cpu(const ForwardCall& call);

}  // namespace regard::cpu
