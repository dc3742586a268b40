// Memory for one operand of a test: a strided view whose surroundings, and whose own elements until
// they are written, are NaN in every dtype.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "regard/problem.h"

namespace regard::testing {

struct Shape {
  int64_t batch = 0, seq = 0, heads = 0, dim = 0;
  int64_t num_elements() const { return batch * seq * heads * dim; }
};

inline Shape shape_of(const View& view) { return {view.batch, view.seq, view.heads, view.dim}; }

// sliced: rows of [B, S, H, D] cut from a wider tensor, with odd gaps between heads, rows and
// batches.
enum class Layout : uint8_t { bshd, bhsd, sliced };

// The view's values in the order [B, S, H, D].
std::vector<float> dense(const View& view);

class GuardedTensor {
 public:
  GuardedTensor(DType dtype, const Shape& shape, Layout layout);
  GuardedTensor(GuardedTensor&&) = default;  // the memory stays where it is
  GuardedTensor& operator=(GuardedTensor&&) = default;

  const View& view() const { return view_; }

  // Dense values in the order [B, S, H, D], rounded to the dtype.
  void fill(const std::vector<float>& values);
  std::vector<float> dense() const { return testing::dense(view_); }

  // Every byte outside the view's elements still has the poison it was made with.
  bool guards_intact() const;
  // Ends the watch of address sanitizer over the guards, as guards_intact() does.
  const std::vector<uint8_t>& bytes() const;

 private:
  std::vector<uint8_t> bytes_;
  View view_;
};

// An LSE [B, H, S] in guarded memory; rows are further apart than they are long.
class GuardedLse {
 public:
  GuardedLse(int64_t batch, int64_t heads, int64_t seq);
  LseView view() const;
  void fill(const std::vector<float>& values) { tensor_.fill(values); }
  std::vector<float> dense() const { return tensor_.dense(); }
  bool guards_intact() const { return tensor_.guards_intact(); }
  const std::vector<uint8_t>& bytes() const { return tensor_.bytes(); }

 private:
  GuardedTensor tensor_;  // [B, H, 1, S]
};

}  // namespace regard::testing
