#include <algorithm>

#include "core/mask.h"
#include "cpu/attn_decode_cpu.h"

namespace regard::cpu {
namespace {

constexpr int64_t kLeastPartKeys = 256;
constexpr int64_t kWantedParts = 256;

core::KeyInterval live_keys(const Problem& problem, const Unit& unit, const RowGroup& group) {
  core::KeyInterval live;
  for (int64_t row = group.first_row; row < group.first_row + group.num_rows; ++row) {
    const core::KeyInterval keys =
        core::key_interval(problem, unit.sequence, unit.head_of(row), unit.query_of(row));
    if (keys.is_empty()) {
      continue;
    }
    live = live.is_empty() ? keys
                           : core::KeyInterval{std::min(live.lo, keys.lo),  //
                                               std::max(live.hi, keys.hi)};
  }
  return live;
}

int64_t part_keys(const std::vector<RowGroup>& groups) {
  int64_t total = 0;
  for (const RowGroup& group : groups) {
    total += group.live.hi - group.live.lo;
  }
  const int64_t blocks = total / kWantedParts / kLeastPartKeys + 1;
  return blocks * kLeastPartKeys;
}

}  // namespace

int64_t most_decode_rows(const Problem& problem) {
  int64_t most = 0;
  for (int64_t index = 0; index < core::num_sequences(problem); ++index) {
    most = std::max(most, core::sequence_at(problem, index).q_len);
  }
  return problem.k.heads == 0 ? 0 : most * (problem.q.heads / problem.k.heads);
}

DecodePlan decode_plan(const Problem& problem) {
  DecodePlan plan{.units = units_of(problem), .groups = {}, .parts = {}};
  for (size_t u = 0; u < plan.units.size(); ++u) {
    const Unit& unit = plan.units[u];
    for (int64_t row = 0; row < unit.num_rows; row += kDecodeRows) {
      RowGroup group{.unit = u,
                     .first_row = row,
                     .num_rows = std::min(kDecodeRows, unit.num_rows - row),
                     .live = {},
                     .first_part = 0,
                     .num_parts = 0};
      group.live = live_keys(problem, unit, group);
      plan.groups.push_back(group);
    }
  }
  const int64_t keys = part_keys(plan.groups);
  for (size_t g = 0; g < plan.groups.size(); ++g) {
    RowGroup& group = plan.groups[g];
    group.first_part = plan.parts.size();
    int64_t lo = group.live.lo;
    do {
      const int64_t hi = std::min(lo + keys, group.live.hi);
      plan.parts.push_back({g, {lo, hi}});
      lo = hi;
    } while (lo < group.live.hi);
    group.num_parts = plan.parts.size() - group.first_part;
  }
  return plan;
}

}  // namespace regard::cpu
