// The text of attn_append on the emulator against the CPU's rows, bit for bit: pages out of order,
// packed and unpacked tokens, both ways to pair columns, tables of every format.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "gpu/kernels/attn_append.cuh"
#include "gpu/plan/attn_append.h"
#include "gpu/plan/print_config.h"
#include "modules/flash_lowering.h"
#include "tests/gpu/emulated_launch.h"

namespace regard::testing {
namespace {

using gpu::AttnConfig;
using gpu::Element;

constexpr int64_t kSequences = 3, kKvHeads = 2, kHeads = 4, kPageSize = 5, kPagesEach = 4;
constexpr int64_t kPositions = 64;

constexpr AttnConfig config_of_case(Element element, bool is_packed) {
  return {.element = element, .num_warps = 4, .is_packed = is_packed, .is_paged = true};
}

struct Kernel {
  AttnConfig config;
  void (*run)(const gpu::AttnAppendParams&, unsigned short*);
};
template <Element kElement, bool kIsPacked>
constexpr Kernel kernel() {
  return {config_of_case(kElement, kIsPacked),
          gpu::attn_append<config_of_case(kElement, kIsPacked)>};
}
constexpr Kernel kKernels[] = {kernel<Element::f16, false>(), kernel<Element::f16, true>(),
                               kernel<Element::bf16, false>(), kernel<Element::bf16, true>()};

struct AppendCase {
  std::string name;
  DType dtype = DType::bf16, table_dtype = DType::f32;
  bool is_packed = false, is_interleaved = true, rotates = true, has_first = false;
  bool has_query_positions = true;
  int64_t dim = 24, value_dim = 17, rotary_dim = 16;
};
void PrintTo(const AppendCase& value, std::ostream* out) { *out << value.name; }

// Contiguous random rows.
struct Tensor {
  Tensor(DType dtype, int64_t batch, int64_t seq, int64_t heads, int64_t dim, uint32_t seed)
      : values(static_cast<size_t>(batch * seq * heads * dim)) {
    view = {values.data(), dtype, batch, seq, heads, dim, seq * heads * dim, heads * dim, dim};
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < values.size(); ++i) {
      core::store(values.data(), dtype, static_cast<int64_t>(i), normal(engine));
    }
  }
  Tensor(const Tensor& other) : values(other.values), view(other.view) {
    view.data = values.data();
  }

  MemoryRange range(bool is_writable) const {
    return {values.data(), values.size() * sizeof(uint16_t), is_writable};
  }

  std::vector<uint16_t> values;
  View view;
};

template <typename T>
MemoryRange range_of(const std::vector<T>& values) {
  return {values.data(), values.size() * sizeof(T), false};
}

class AttnAppend : public ::testing::TestWithParam<AppendCase> {
 protected:
  AttnAppend()
      : q_(dtype(), batch(), q_seq(), kHeads, GetParam().dim, 1),
        rotated_q_(dtype(), batch(), q_seq(), kHeads, GetParam().dim, 2),
        new_k_(dtype(), batch(), new_seq(), kKvHeads, GetParam().dim, 3),
        new_v_(dtype(), batch(), new_seq(), kKvHeads, GetParam().value_dim, 4),
        k_(dtype(), kSequences * kPagesEach, kPageSize, kKvHeads, GetParam().dim, 5),
        v_(dtype(), kSequences * kPagesEach, kPageSize, kKvHeads, GetParam().value_dim, 6) {
    pages_.resize(static_cast<size_t>(kSequences * kPagesEach));
    std::iota(pages_.rbegin(), pages_.rend(), 0);  // from the last to the first
    fill_table();
  }

  static DType dtype() { return GetParam().dtype; }
  static int64_t batch() { return GetParam().is_packed ? 1 : kSequences; }
  static int64_t q_seq() { return GetParam().is_packed ? 6 : 2; }
  static int64_t new_seq() { return GetParam().is_packed ? 11 : 3; }

  int64_t begin_of(const std::vector<int32_t>& offsets, int64_t i) const {
    return GetParam().is_packed ? offsets[static_cast<size_t>(i)] : 0;
  }
  int64_t length_of(const std::vector<int32_t>& offsets, int64_t i, int64_t all) const {
    const auto at = static_cast<size_t>(i);
    return GetParam().is_packed ? offsets[at + 1] - offsets[at] : all;
  }
  int64_t first_position(size_t i) const {
    return GetParam().has_first ? first_[i] : old_lengths_[i];
  }

  RotaryTable table() const {
    RotaryTable table;
    if (GetParam().rotates) {
      table = {.cos = cos_.data(),
               .sin = sin_.data(),
               .dtype = GetParam().table_dtype,
               .positions = kPositions,
               .dim = GetParam().rotary_dim,
               .is_interleaved = GetParam().is_interleaved};
    }
    return table;
  }

  // What the CPU does row by row.
  void append_on_cpu(const View& k_cache, const View& v_cache, const View& rotated) const {
    for (int64_t i = 0; i < kSequences; ++i) {
      const auto at = static_cast<size_t>(i);
      const int64_t from_batch = GetParam().is_packed ? 0 : i;
      for (int64_t t = 0; t < length_of(new_offsets_, i, new_seq()); ++t) {
        const int64_t row = old_lengths_[at] + t;
        const auto page = pages_[static_cast<size_t>(i * kPagesEach + row / kPageSize)];
        for (int64_t head = 0; head < kKvHeads; ++head) {
          const flash::RowIndex from{from_batch, begin_of(new_offsets_, i) + t, head};
          const flash::RowIndex to{page, row % kPageSize, head};
          flash::rotate_row(table(), first_position(at) + t, new_k_.view, from, k_cache, to);
          flash::copy_row(new_v_.view, from, v_cache, to, 0);
        }
      }
      for (int64_t t = 0; t < length_of(q_offsets_, i, q_seq()); ++t) {
        for (int64_t head = 0; head < kHeads; ++head) {
          const flash::RowIndex row{from_batch, begin_of(q_offsets_, i) + t, head};
          const int64_t step = GetParam().has_query_positions ? t : 0;
          flash::rotate_row(table(), first_position(at) + step, q_.view, row, rotated, row);
        }
      }
    }
  }

  gpu::AttnAppendPlan plan() const {
    Problem problem;
    problem.q = q_.view;
    problem.k = k_.view;
    problem.v = v_.view;
    problem.pages = {.table = pages_.data(), .stride = kPagesEach, .lengths = old_lengths_.data()};
    if (GetParam().is_packed) {
      problem.documents = {.q_offsets = q_offsets_.data(), .count = kSequences};
    }
    EXPECT_EQ(gpu::why_unsupported_attn_append(problem, 80), "");
    const RotaryTable rotary = table();
    return gpu::plan_attn_append(problem,
                                 {.k = new_k_.view,
                                  .v = new_v_.view,
                                  .offsets = GetParam().is_packed ? new_offsets_.data() : nullptr,
                                  .old_lengths = old_lengths_.data()},
                                 {.cos = rotary.cos,
                                  .sin = rotary.sin,
                                  .dtype = rotary.dtype,
                                  .dim = rotary.dim,
                                  .is_interleaved = rotary.is_interleaved,
                                  .first = GetParam().has_first ? first_.data() : nullptr,
                                  .has_query_positions = GetParam().has_query_positions},
                                 rotated_q_.view);
  }

  std::string emulate_append() const {
    const gpu::AttnAppendPlan plan = this->plan();
    const std::vector<MemoryRange> memory = {
        q_.range(false),        new_k_.range(false),    new_v_.range(false), k_.range(true),
        v_.range(true),         rotated_q_.range(true), range_of(pages_),    range_of(old_lengths_),
        range_of(new_offsets_), range_of(q_offsets_),   range_of(first_),    range_of(cos_),
        range_of(sin_)};
    for (const Kernel& kernel : kKernels) {
      if (kernel.config == plan.config) {
        return emulate(emulated_launch(plan.grid, plan.config.num_threads(), 0, memory),
                       [&](unsigned short* shared) { kernel.run(plan.params, shared); });
      }
    }
    return "add to kKernels: " + gpu::literal(plan.config);
  }

  Tensor q_, rotated_q_, new_k_, new_v_, k_, v_;
  std::vector<int32_t> pages_;
  const std::vector<int32_t> old_lengths_ = {4, 0, 13}, first_ = {7, 1, 40};
  const std::vector<int32_t> new_offsets_ = {0, 5, 5, 11}, q_offsets_ = {0, 1, 3, 6};
  std::vector<float> cos_, sin_;

 private:
  void fill_table() {
    std::mt19937 engine(9);
    std::uniform_real_distribution<float> angle(-3.0f, 3.0f);
    const int64_t elements = kPositions * GetParam().rotary_dim / 2;
    cos_.resize(static_cast<size_t>(elements));
    sin_.resize(static_cast<size_t>(elements));
    for (int64_t i = 0; i < elements; ++i) {
      const float x = angle(engine);
      core::store(cos_.data(), GetParam().table_dtype, i, std::cos(x));
      core::store(sin_.data(), GetParam().table_dtype, i, std::sin(x));
    }
  }
};

TEST_P(AttnAppend, Emulated_WritesTheCpusBitsAndNothingElse) {
  Tensor k = k_, v = v_, rotated = rotated_q_;
  append_on_cpu(k.view, v.view, rotated.view);
  ASSERT_EQ(emulate_append(), "");
  EXPECT_EQ(k_.values, k.values);
  EXPECT_EQ(v_.values, v.values);
  EXPECT_EQ(rotated_q_.values, rotated.values);
}

INSTANTIATE_TEST_SUITE_P(
    Cases, AttnAppend,
    ::testing::Values(
        AppendCase{.name = "interleaved"}, AppendCase{.name = "halves", .is_interleaved = false},
        AppendCase{.name = "f16_of_f16_tables", .dtype = DType::f16, .table_dtype = DType::f16},
        AppendCase{.name = "bf16_tables_whole_head",
                   .table_dtype = DType::bf16,
                   .is_interleaved = false,
                   .dim = 128,
                   .value_dim = 128,
                   .rotary_dim = 128},
        AppendCase{.name = "packed", .is_packed = true, .has_first = true},
        AppendCase{.name = "packed_f16_one_position",
                   .dtype = DType::f16,
                   .is_packed = true,
                   .has_query_positions = false},
        AppendCase{.name = "without_rotation", .rotates = false, .dim = 33}),
    [](const auto& test_info) { return test_info.param.name; });

}  // namespace
}  // namespace regard::testing
