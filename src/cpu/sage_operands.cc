#include "cpu/sage_operands.h"

#include <algorithm>

#include "cpu/highway_targets.h"
#include "cpu/task_queue.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/sage_operands.cc"
#include "hwy/foreach_target.h"  // must come before highway.h

#include "cpu/pack-inl.h"
#include "hwy/highway.h"

#ifndef REGARD_CPU_SAGE_OPERANDS_CALL_
#define REGARD_CPU_SAGE_OPERANDS_CALL_
namespace regard::cpu {

struct QuantizeCall {
  const Problem* problem;
  SageOperands* operands;
  float* rows;  // [num_threads][row_floats]
  size_t row_floats;
  int num_threads;
};

}  // namespace regard::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// One row of a unit in f32, in memory of the caller's.
struct KeyRow {
  const View* view;
  const Unit* unit;
  float* row;

  const float* operator()(int64_t key) const {
    const core::Sequence& sequence = unit->sequence;
    load_row(*view, core::row_offset(*view, sequence.batch, sequence.k_begin + key, unit->kv_head),
             1.0f, row);
    return row;
  }
};

struct SmoothedKeyRow {
  KeyRow key_row;
  const float* mean;

  const float* operator()(int64_t key) const {
    key_row(key);
    const int64_t dim = key_row.view->dim;
    for (int64_t d = 0; d < dim; ++d) {
      key_row.row[d] -= mean[d];
    }
    return key_row.row;
  }
};

struct QueryRow {
  const View* view;
  const Unit* unit;
  int64_t head_in_group;
  float* row;

  const float* operator()(int64_t query) const {
    load_row(*view, query_row_offset(*view, *unit, query * unit->group + head_in_group), 1.0f, row);
    return row;
  }
};

inline void store_int8(const float* row, int64_t dim, float scale, int8_t* to) {
  core::int8_of_row(row, dim, scale, to);
  std::fill(to + dim, to + padded_int8(dim), int8_t{0});
}

inline void quantize_keys(const Problem& problem, const Unit& unit, const SageUnit& to,
                          float* rows) {
  const int64_t dim = problem.k.dim;
  const int64_t num_keys = unit.sequence.k_len;
  const KeyRow load{&problem.k, &unit, rows};
  std::fill_n(to.mean, dim, 0.0f);
  if (problem.quantization.smooth_k) {
    core::mean_of_rows(num_keys, dim, load, rows + dim, to.mean);
  }
  const SmoothedKeyRow smoothed{load, to.mean};
  const ScaleGroups groups = problem.quantization.groups;
  core::scales_of_rows(
      num_keys, dim, core::num_key_groups(groups, num_keys), smoothed,
      [groups](int64_t key) { return core::key_group(groups, key); }, to.key_scales);
  for (int64_t key = 0; key < num_keys; ++key) {
    store_int8(smoothed(key), dim, to.key_scale(groups, key),
               to.keys + static_cast<size_t>(key) * padded_int8(dim));
  }
}

// Summed in double, so that a large mean costs the LSE no more than its own rounding.
inline float shift_of(const float* q, const float* mean, int64_t dim) {
  double sums[4] = {};
  for (int64_t d = 0; d < dim; ++d) {
    sums[d % 4] += static_cast<double>(q[d]) * static_cast<double>(mean[d]);
  }
  return static_cast<float>((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

inline void quantize_queries(const Problem& problem, const Unit& unit, int64_t head_in_group,
                             const SageUnit& to, float* rows) {
  const int64_t dim = problem.q.dim;
  const int64_t num_queries = unit.sequence.q_len;
  const QueryRow load{&problem.q, &unit, head_in_group, rows};
  const ScaleGroups groups = problem.quantization.groups;
  core::scales_of_rows(
      num_queries, dim, to.num_query_groups, load,
      [groups](int64_t query) { return core::query_group(groups, query); },
      to.query_scales + head_in_group * to.num_query_groups);
  for (int64_t query = 0; query < num_queries; ++query) {
    const int64_t row = query * unit.group + head_in_group;
    const float* values = load(query);
    to.shifts[row] = problem.quantization.smooth_k ? shift_of(values, to.mean, dim) : 0.0f;
    store_int8(values, dim, to.query_scale(groups, unit, row),
               to.queries + static_cast<size_t>(row) * padded_int8(dim));
  }
}

// One scale a channel over the unit's values, for e4m3.
inline void scale_values(const Problem& problem, const Unit& unit, const SageUnit& to,
                         float* rows) {
  const int64_t dim = problem.v.dim;
  std::fill_n(to.value_scales, dim, 0.0f);
  if (problem.quantization.values != ValueFormat::f8_e4m3) {
    return;
  }
  const KeyRow load{&problem.v, &unit, rows};
  for (int64_t key = 0; key < unit.sequence.k_len; ++key) {
    const float* row = load(key);
    for (int64_t d = 0; d < dim; ++d) {
      const uint32_t largest =
          core::max_magnitude_bits(row + d, 1, core::bits_of(to.value_scales[d]));
      to.value_scales[d] = core::float_of(largest);
    }
  }
  for (int64_t d = 0; d < dim; ++d) {
    to.value_scales[d] =
        core::scale_of_group(core::bits_of(to.value_scales[d]), core::kLargestE4m3);
  }
}

// Keys and values of every unit; queries need their mean, so they follow.
struct KeyTask {
  const QuantizeCall* call;

  void operator()(int64_t index, int thread) const {
    const auto unit = static_cast<size_t>(index);
    float* rows = call->rows + static_cast<size_t>(thread) * call->row_floats;
    const SageOperands& operands = *call->operands;
    quantize_keys(*call->problem, operands.units[unit], operands.quantized[unit], rows);
    scale_values(*call->problem, operands.units[unit], operands.quantized[unit], rows);
  }
};

struct QueryTask {
  const QuantizeCall* call;
  int64_t group;

  void operator()(int64_t index, int thread) const {
    const auto unit = static_cast<size_t>(index / group);
    const SageOperands& operands = *call->operands;
    quantize_queries(*call->problem, operands.units[unit], index % group, operands.quantized[unit],
                     call->rows + static_cast<size_t>(thread) * call->row_floats);
  }
};

void quantize(const QuantizeCall& call) {
  const auto num_units = static_cast<int64_t>(call.operands->units.size());
  if (num_units == 0) {
    return;
  }
  const int64_t group = call.operands->units[0].group;
  run_tasks(num_units, call.num_threads, KeyTask{&call});
  run_tasks(num_units * group, call.num_threads, QueryTask{&call, group});
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regard::cpu {

HWY_EXPORT(quantize);

namespace {

// Where the arrays of one unit begin, in floats.
struct SageLayout {
  size_t keys, queries, key_scales, query_scales, mean, value_scales, shifts, end;

  SageLayout(const Problem& problem, const Unit& unit) {
    const ScaleGroups groups = problem.quantization.groups;
    const auto rows = static_cast<size_t>(unit.num_rows);
    const auto num_keys = static_cast<size_t>(unit.sequence.k_len);
    const size_t words = padded_int8(problem.q.dim) / 4;  // of 4 bytes
    keys = 0;
    queries = keys + whole_lines(num_keys * words);
    key_scales = queries + whole_lines(rows * words);
    query_scales =
        key_scales +
        whole_lines(static_cast<size_t>(core::num_key_groups(groups, unit.sequence.k_len)));
    mean = query_scales + whole_lines(static_cast<size_t>(
                              unit.group * core::num_query_groups(groups, unit.sequence.q_len)));
    value_scales = mean + whole_lines(static_cast<size_t>(problem.k.dim));
    shifts = value_scales + whole_lines(static_cast<size_t>(problem.v.dim));
    end = shifts + whole_lines(rows);
  }
};

size_t floats_of(const Problem& problem, const std::vector<Unit>& units) {
  size_t floats = 0;
  for (const Unit& unit : units) {
    floats += SageUnit::floats(problem, unit);
  }
  return floats;
}

}  // namespace

SageUnit::SageUnit(const Problem& problem, const Unit& unit, float* memory) {
  const SageLayout layout(problem, unit);
  keys = reinterpret_cast<int8_t*>(memory + layout.keys);
  queries = reinterpret_cast<int8_t*>(memory + layout.queries);
  key_scales = memory + layout.key_scales;
  query_scales = memory + layout.query_scales;
  mean = memory + layout.mean;
  value_scales = memory + layout.value_scales;
  shifts = memory + layout.shifts;
  num_query_groups = core::num_query_groups(problem.quantization.groups, unit.sequence.q_len);
}

size_t SageUnit::floats(const Problem& problem, const Unit& unit) {
  return SageLayout(problem, unit).end;
}

SageOperands::SageOperands(const Problem& problem, int num_threads)
    : units(units_of(problem)), memory_(floats_of(problem, units)) {
  float* next = memory_.data();
  quantized.reserve(units.size());
  for (const Unit& unit : units) {
    quantized.emplace_back(problem, unit, next);
    next += SageUnit::floats(problem, unit);
  }
  const auto widest = static_cast<size_t>(std::max(problem.k.dim, problem.v.dim));
  const size_t row_floats = whole_lines(2 * widest);
  const Scratch rows(row_floats * static_cast<size_t>(num_threads));
  HWY_DYNAMIC_DISPATCH(quantize)
  ({&problem, this, rows.data(), row_floats, num_threads});
}

}  // namespace regard::cpu
#endif
