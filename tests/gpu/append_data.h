// What attn_append is tested with: tensors, tables and offsets on the host, what the CPU makes of
// them, and the plan over copies of them wherever a test puts them.
#pragma once

#include <cmath>
#include <functional>
#include <numeric>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "gpu/plan/attn_append.h"
#include "modules/flash_lowering.h"

namespace regard::testing {

struct AppendCase {
  std::string name;
  DType dtype = DType::bf16, table_dtype = DType::f32;
  bool is_packed = false, is_interleaved = true, rotates = true, has_first = false;
  bool has_query_positions = true;
  int64_t dim = 24, value_dim = 17, rotary_dim = 16;
};
inline void PrintTo(const AppendCase& value, std::ostream* out) { *out << value.name; }

inline std::vector<AppendCase> append_cases() {
  return {{.name = "interleaved"},
          {.name = "halves", .is_interleaved = false},
          {.name = "f16_of_f16_tables", .dtype = DType::f16, .table_dtype = DType::f16},
          {.name = "bf16_tables_whole_head",
           .table_dtype = DType::bf16,
           .is_interleaved = false,
           .dim = 128,
           .value_dim = 128,
           .rotary_dim = 128},
          {.name = "packed", .is_packed = true, .has_first = true},
          {.name = "packed_f16_one_position",
           .dtype = DType::f16,
           .is_packed = true,
           .has_query_positions = false},
          {.name = "without_rotation", .rotates = false, .dim = 33}};
}

// Contiguous random rows of 16-bit elements.
struct AppendTensor {
  AppendTensor(DType dtype, int64_t batch, int64_t seq, int64_t heads, int64_t dim, uint32_t seed)
      : values(static_cast<size_t>(batch * seq * heads * dim)) {
    view = {values.data(), dtype, batch, seq, heads, dim, seq * heads * dim, heads * dim, dim};
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < values.size(); ++i) {
      core::store(values.data(), dtype, static_cast<int64_t>(i), normal(engine));
    }
  }
  AppendTensor(const AppendTensor& other) : values(other.values), view(other.view) {
    view.data = values.data();
  }

  std::vector<uint16_t> values;
  View view;
};

// Where a copy of `num_bytes` at `here` lies for the kernel.
using Place = std::function<void*(void* here, size_t num_bytes, bool is_result)>;

class AppendData {
 public:
  explicit AppendData(const AppendCase& config)
      : config_(config),
        q_(config.dtype, batch(), q_seq(), kHeads, config.dim, 1),
        rotated_q_(config.dtype, batch(), q_seq(), kHeads, config.dim, 2),
        new_k_(config.dtype, batch(), new_seq(), kKvHeads, config.dim, 3),
        new_v_(config.dtype, batch(), new_seq(), kKvHeads, config.value_dim, 4),
        k_(config.dtype, kSequences * kPagesEach, kPageSize, kKvHeads, config.dim, 5),
        v_(config.dtype, kSequences * kPagesEach, kPageSize, kKvHeads, config.value_dim, 6) {
    pages_.resize(static_cast<size_t>(kSequences * kPagesEach));
    std::iota(pages_.rbegin(), pages_.rend(), 0);  // from the last to the first
    fill_table();
  }

  // What a call writes: the cache and the rotated queries.
  struct Results {
    AppendTensor k, v, rotated_q;
    bool operator==(const Results& other) const {
      return k.values == other.k.values && v.values == other.v.values &&
             rotated_q.values == other.rotated_q.values;
    }
  };
  Results results() const { return {k_, v_, rotated_q_}; }

  // Row by row, as the CPU does.
  Results appended_on_cpu() const {
    Results done = results();
    for (int64_t i = 0; i < kSequences; ++i) {
      const auto at = static_cast<size_t>(i);
      const int64_t from_batch = config_.is_packed ? 0 : i;
      for (int64_t t = 0; t < length_of(new_offsets_, i, new_seq()); ++t) {
        const int64_t row = old_lengths_[at] + t;
        const auto page = pages_[static_cast<size_t>(i * kPagesEach + row / kPageSize)];
        for (int64_t head = 0; head < kKvHeads; ++head) {
          const flash::RowIndex from{from_batch, begin_of(new_offsets_, i) + t, head};
          const flash::RowIndex to{page, row % kPageSize, head};
          flash::rotate_row(table(), first_position(at) + t, new_k_.view, from, done.k.view, to);
          flash::copy_row(new_v_.view, from, done.v.view, to, 0);
        }
      }
      for (int64_t t = 0; t < length_of(q_offsets_, i, q_seq()); ++t) {
        for (int64_t head = 0; head < kHeads; ++head) {
          const flash::RowIndex row{from_batch, begin_of(q_offsets_, i) + t, head};
          const int64_t step = config_.has_query_positions ? t : 0;
          flash::rotate_row(table(), first_position(at) + step, q_.view, row, done.rotated_q.view,
                            row);
        }
      }
    }
    return done;
  }

  gpu::AttnAppendPlan plan(const Place& place) {
    Problem problem;
    problem.q = placed(place, q_);
    problem.k = placed(place, k_, true);
    problem.v = placed(place, v_, true);
    problem.pages = {.table = placed(place, pages_),
                     .stride = kPagesEach,
                     .lengths = placed(place, old_lengths_)};
    if (config_.is_packed) {
      problem.documents = {.q_offsets = placed(place, q_offsets_), .count = kSequences};
    }
    const RotaryTable rotary = table();
    return gpu::plan_attn_append(
        problem,
        {.k = placed(place, new_k_),
         .v = placed(place, new_v_),
         .offsets = config_.is_packed ? placed(place, new_offsets_) : nullptr,
         .old_lengths = problem.pages.lengths},
        {.cos = config_.rotates ? placed(place, cos_) : nullptr,
         .sin = config_.rotates ? placed(place, sin_) : nullptr,
         .dtype = rotary.dtype,
         .dim = rotary.dim,
         .is_interleaved = rotary.is_interleaved,
         .first = config_.has_first ? placed(place, first_) : nullptr,
         .has_query_positions = config_.has_query_positions},
        placed(place, rotated_q_, true));
  }

 private:
  static constexpr int64_t kSequences = 3, kKvHeads = 2, kHeads = 4, kPageSize = 5, kPagesEach = 4;
  static constexpr int64_t kPositions = 64;

  int64_t batch() const { return config_.is_packed ? 1 : kSequences; }
  int64_t q_seq() const { return config_.is_packed ? 6 : 2; }
  int64_t new_seq() const { return config_.is_packed ? 11 : 3; }

  template <typename T>
  static T* placed(const Place& place, std::vector<T>& values, bool is_result = false) {
    return static_cast<T*>(place(values.data(), values.size() * sizeof(T), is_result));
  }
  static View placed(const Place& place, AppendTensor& tensor, bool is_result = false) {
    View view = tensor.view;
    view.data = placed(place, tensor.values, is_result);
    return view;
  }

  int64_t begin_of(const std::vector<int32_t>& offsets, int64_t i) const {
    return config_.is_packed ? offsets[static_cast<size_t>(i)] : 0;
  }
  int64_t length_of(const std::vector<int32_t>& offsets, int64_t i, int64_t all) const {
    const auto at = static_cast<size_t>(i);
    return config_.is_packed ? offsets[at + 1] - offsets[at] : all;
  }
  int64_t first_position(size_t i) const { return config_.has_first ? first_[i] : old_lengths_[i]; }

  RotaryTable table() const {
    RotaryTable table;
    if (config_.rotates) {
      table = {.cos = cos_.data(),
               .sin = sin_.data(),
               .dtype = config_.table_dtype,
               .positions = kPositions,
               .dim = config_.rotary_dim,
               .is_interleaved = config_.is_interleaved};
    }
    return table;
  }

  void fill_table() {
    std::mt19937 engine(9);
    std::uniform_real_distribution<float> angle(-3.0f, 3.0f);
    const int64_t elements = kPositions * config_.rotary_dim / 2;
    cos_.resize(static_cast<size_t>(elements));
    sin_.resize(static_cast<size_t>(elements));
    for (int64_t i = 0; i < elements; ++i) {
      const float x = angle(engine);
      core::store(cos_.data(), config_.table_dtype, i, std::cos(x));
      core::store(sin_.data(), config_.table_dtype, i, std::sin(x));
    }
  }

  const AppendCase config_;
  AppendTensor q_, rotated_q_, new_k_, new_v_, k_, v_;
  std::vector<int32_t> pages_, old_lengths_ = {4, 0, 13}, first_ = {7, 1, 40};
  std::vector<int32_t> new_offsets_ = {0, 5, 5, 11}, q_offsets_ = {0, 1, 3, 6};
  std::vector<float> cos_, sin_;
};

}  // namespace regard::testing
