// Quantised operands of a sage call, unit by unit (tile_plan.h): int8 rows and the scales of their
// groups, made by the arithmetic of core/int8_groups.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/int8_groups.h"
#include "cpu/scratch.h"
#include "cpu/tile_plan.h"
#include "regard/problem.h"

namespace regard::cpu {

// Int8 rows end in zeros up to whole groups of four: what one dot-product instruction takes.
constexpr size_t padded_int8(int64_t dim) { return static_cast<size_t>((dim + 3) / 4 * 4); }

// One unit's operands. Query rows are merged as in tile_plan.h: row = query * group + head in
// group.
struct SageUnit {
  int8_t *keys, *queries;            // [k_len][padded_int8(D)], [num_rows][padded_int8(D)]
  float *key_scales, *query_scales;  // [key groups], [query heads of the unit][query groups]
  float *mean, *value_scales;        // [D], [Dv]: see core::rounded_value
  float* shifts;                     // [num_rows]: q . mean
  int64_t num_query_groups;

  SageUnit(const Problem& problem, const Unit& unit, float* memory);
  static size_t floats(const Problem& problem, const Unit& unit);

  float key_scale(ScaleGroups groups, int64_t key) const {
    return key_scales[core::key_group(groups, key)];
  }
  float query_scale(ScaleGroups groups, const Unit& unit, int64_t row) const {
    return query_scales[row % unit.group * num_query_groups +
                        core::query_group(groups, unit.query_of(row))];
  }
};

// All units of a call.
struct SageOperands {
  // Quantises on up to `num_threads` threads. Throws Error(out_of_memory).
  SageOperands(const Problem& problem, int num_threads);

  std::vector<Unit> units;
  std::vector<SageUnit> quantized;  // by unit

 private:
  Scratch memory_;
};

// Whether scores themselves need q . mean: a plain softmax does not see what is the same for all
// keys of a row, so that only the LSE does.
inline bool needs_shifted_scores(const Problem& problem) {
  return problem.quantization.smooth_k && problem.softcap != 0.0f;
}

}  // namespace regard::cpu
