// Operands and judgement for the tests of regard/flash_attention.h: what each sequence should give,
// computed by the reference from tensors that hold that sequence alone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "regard/error.h"
#include "regard/flash_attention.h"
#include "tests/support/guarded_tensor.h"

namespace regard::testing {

// Normal random values in guarded memory.
GuardedTensor random_tensor(DType dtype, const Shape& shape, Layout layout, uint32_t seed);

// A contiguous f32 copy of rows [begin, begin + length) of `batch`.
GuardedTensor rows_of(const View& view, int64_t batch, int64_t begin, int64_t length);

// Rows of a paged tensor, or of a cache row: rows [begin, begin + length) of sequence `index`.
GuardedTensor paged_rows_of(const View& pages, const int32_t* table, int64_t begin, int64_t length);

// What the options say of one sequence, on its own operands; without dropout, qv and descale.
Problem sequence_problem(const GuardedTensor& q, const GuardedTensor& k, const GuardedTensor& v,
                         const FlashOptions& options);

// O and LSE of a problem by the reference, f32.
struct ExpectedForward {
  explicit ExpectedForward(const Problem& problem);
  GuardedTensor o;
  GuardedLse lse;
};

// Rows [begin, begin + length) of (o, lse) of `batch` against an expected sequence.
void expect_rows(const ForwardOutputs& got, int64_t batch, int64_t begin,
                 const ExpectedForward& expected, const char* what);

// Largest difference below the rounding of `dtype` and f32 sums; NaN fails.
void expect_close(const std::vector<float>& got, const std::vector<float>& expected, DType dtype,
                  const char* what);

// Packs tensors of one shape as parts of [B, S, parts, H, D].
class PackedTensor {
 public:
  PackedTensor(DType dtype, const Shape& shape, int64_t parts);
  const PackedView& view() const { return view_; }
  void fill_part(int64_t part, const std::vector<float>& values);

 private:
  GuardedTensor memory_;
  PackedView view_;
};

// The message of the Error that `call` throws; "" where it throws none.
template <class Call>
std::string refusal_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace regard::testing
