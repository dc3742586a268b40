// From tensors to the row kernels: a view of contiguous memory, and the split over threads.
#pragma once

#include <ATen/Parallel.h>
#include <torch/types.h>

#include "tune/model/row_kernels.h"

namespace tune::ops {

// Contiguous [rows, width]; an undefined tensor gives a null matrix.
inline rows::Matrix matrix_of(const torch::Tensor& tensor) {
  if (!tensor.defined()) return {};
  const auto type =
      tensor.scalar_type() == torch::kBFloat16 ? rows::Element::bf16 : rows::Element::f32;
  return {tensor.data_ptr(), type, tensor.size(-1)};
}

// Calls body(Range) over [0, num_rows). Blocks hold at least 16K values: below that a thread costs
// more to wake than its share of the work.
template <class Body>
void for_rows(int64_t num_rows, int64_t width, const Body& body) {
  constexpr int64_t kValuesPerThread = 16384;
  const int64_t grain = std::max<int64_t>(1, kValuesPerThread / std::max<int64_t>(1, width));
  at::parallel_for(0, num_rows, grain, [&](int64_t first, int64_t last) {
    body(rows::Range{first, last});
  });
}

}  // namespace tune::ops
