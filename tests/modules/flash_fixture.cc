#include "tests/modules/flash_fixture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "core/dtype.h"
#include "reference/attention.h"

namespace regard::testing {
namespace {

std::vector<float> row_values(const View& view, int64_t batch, int64_t seq) {
  std::vector<float> values;
  for (int64_t head = 0; head < view.heads; ++head) {
    const int64_t row = core::row_offset(view, batch, seq, head);
    for (int64_t d = 0; d < view.dim; ++d) {
      values.push_back(core::load(view.data, view.dtype, row + d));
    }
  }
  return values;
}

GuardedTensor tensor_of(const View& like, int64_t length, const std::vector<float>& values) {
  GuardedTensor tensor(DType::f32, {1, length, like.heads, like.dim}, Layout::bshd);
  tensor.fill(values);
  return tensor;
}

}  // namespace

GuardedTensor random_tensor(DType dtype, const Shape& shape, Layout layout, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(shape.num_elements()));
  for (float& value : values) {
    value = normal(engine);
  }
  GuardedTensor tensor(dtype, shape, layout);
  tensor.fill(values);
  return tensor;
}

GuardedTensor rows_of(const View& view, int64_t batch, int64_t begin, int64_t length) {
  std::vector<float> values;
  for (int64_t s = begin; s < begin + length; ++s) {
    const std::vector<float> row = row_values(view, batch, s);
    values.insert(values.end(), row.begin(), row.end());
  }
  return tensor_of(view, length, values);
}

GuardedTensor paged_rows_of(const View& pages, const int32_t* table, int64_t begin,
                            int64_t length) {
  std::vector<float> values;
  for (int64_t r = begin; r < begin + length; ++r) {
    const std::vector<float> row = row_values(pages, table[r / pages.seq], r % pages.seq);
    values.insert(values.end(), row.begin(), row.end());
  }
  return tensor_of(pages, length, values);
}

Problem sequence_problem(const GuardedTensor& q, const GuardedTensor& k, const GuardedTensor& v,
                         const FlashOptions& options) {
  Problem problem;
  problem.q = q.view();
  problem.k = k.view();
  problem.v = v.view();
  problem.scale = options.softmax_scale;
  problem.causal = options.is_causal ? Causal::lower_right : Causal::none;
  problem.window = options.window;
  problem.softcap = options.softcap;
  problem.alibi = {.slopes = options.alibi.slopes, .stride_batch = 0};
  problem.chunks.size = options.attention_chunk;
  problem.sink = options.learnable_sink;
  return problem;
}

ExpectedForward::ExpectedForward(const Problem& problem)
    : o(DType::f32, {problem.q.batch, problem.q.seq, problem.q.heads, problem.v.dim}, Layout::bshd),
      lse(problem.q.batch, problem.q.heads, problem.q.seq) {
  reference::forward(problem, {.o = o.view(), .lse = lse.view()});
}

void expect_close(const std::vector<float>& got, const std::vector<float>& expected, DType dtype,
                  const char* what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  const double ulp = dtype == DType::f32 ? 0x1p-24 : dtype == DType::f16 ? 0x1p-11 : 0x1p-8;
  double largest = 1.0;
  for (const float value : expected) {
    largest = std::max(largest, std::isfinite(value) ? std::abs(double{value}) : 0.0);
  }
  for (size_t i = 0; i < got.size(); ++i) {
    const double difference =
        got[i] == expected[i] ? 0.0 : std::abs(double{got[i]} - double{expected[i]});
    // One rounding to the dtype, and f32 sums over hundreds of keys.
    ASSERT_LE(difference, largest * (2 * ulp + 4e-6))
        << what << " at " << i << ": " << got[i] << " instead of " << expected[i];
    ASSERT_FALSE(std::isnan(got[i])) << what << " at " << i;
  }
}

void expect_rows(const ForwardOutputs& got, int64_t batch, int64_t begin,
                 const ExpectedForward& expected, const char* what) {
  const View& right = expected.o.view();
  std::vector<float> o, lse;
  for (int64_t s = 0; s < right.seq; ++s) {
    const std::vector<float> row = row_values(got.o, batch, begin + s);
    o.insert(o.end(), row.begin(), row.end());
  }
  expect_close(o, expected.o.dense(), got.o.dtype, what);
  if (got.lse.data == nullptr) {
    return;
  }
  for (int64_t head = 0; head < right.heads; ++head) {
    for (int64_t s = 0; s < right.seq; ++s) {
      lse.push_back(
          got.lse.data[batch * got.lse.stride_batch + head * got.lse.stride_head + begin + s]);
    }
  }
  expect_close(lse, expected.lse.dense(), DType::f32, what);
}

PackedTensor::PackedTensor(DType dtype, const Shape& shape, int64_t parts)
    : memory_(dtype, {shape.batch, shape.seq, parts * shape.heads, shape.dim}, Layout::sliced) {
  const View& all = memory_.view();
  view_ = {.data = all.data,
           .dtype = dtype,
           .batch = shape.batch,
           .seq = shape.seq,
           .parts = parts,
           .heads = shape.heads,
           .dim = shape.dim,
           .stride_batch = all.stride_batch,
           .stride_seq = all.stride_seq,
           .stride_part = shape.heads * all.stride_head,
           .stride_head = all.stride_head};
}

void PackedTensor::fill_part(int64_t part, const std::vector<float>& values) {
  const View view = part_of(view_, part);
  size_t next = 0;
  for (int64_t b = 0; b < view.batch; ++b) {
    for (int64_t s = 0; s < view.seq; ++s) {
      for (int64_t h = 0; h < view.heads; ++h) {
        for (int64_t d = 0; d < view.dim; ++d) {
          core::store(view.data, view.dtype, core::row_offset(view, b, s, h) + d,
                      values.at(next++));
        }
      }
    }
  }
}

}  // namespace regard::testing
