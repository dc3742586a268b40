// Copies of a call's tensors with their heads side by side, for what strides cannot say: one call
// over heads that lie unevenly, and operands of another dtype than the output.
#pragma once

#include <deque>
#include <vector>

#include "regard/xformers.h"

namespace regard::xformers {

class Staging {
 public:
  // A copy in `dtype`, of keys and values that a group shares one head a group.
  Tensor copy_of(const Tensor& tensor, DType dtype, bool is_shared = false);
  // The same without its content.
  Tensor scratch_of(const Tensor& tensor, DType dtype, bool is_shared = false);

 private:
  std::deque<std::vector<unsigned char>> memory_;
};

// Element by element into a tensor of the same shape, rounded to its dtype.
void copy_elements(const Tensor& from, const Tensor& to);

// Keys and values that the heads of a group read together.
inline bool is_expanded(const Tensor& tensor) {
  return tensor.heads > 1 && tensor.stride_head == 0;
}

// A tensor beside the operands that is copied too: the shape of `like`, memory, and no two elements
// in one place but shared heads. Throws Error(invalid_argument).
void check_staged(const char* name, const Tensor& tensor, const Tensor& like,
                  bool is_shared = false);

}  // namespace regard::xformers
