#include "modules/xformers_staging.h"

#include <cstring>
#include <string>

#include "core/dtype.h"
#include "modules/checks.h"
#include "modules/xformers_checks.h"

namespace regard::xformers {
namespace {

int64_t heads_in_memory(const Tensor& tensor) { return is_expanded(tensor) ? 1 : tensor.heads; }

template <class Visit>
void for_each_row(const Tensor& tensor, const Visit& visit) {
  for (int64_t b = 0; b < tensor.batch; ++b) {
    for (int64_t m = 0; m < tensor.seq; ++m) {
      for (int64_t g = 0; g < tensor.groups; ++g) {
        for (int64_t h = 0; h < heads_in_memory(tensor); ++h) {
          visit([=](const Tensor& t) {
            return b * t.stride_batch + m * t.stride_seq + g * t.stride_group + h * t.stride_head;
          });
        }
      }
    }
  }
}

}  // namespace

Tensor Staging::scratch_of(const Tensor& tensor, DType dtype, bool is_shared) {
  Tensor scratch = tensor;
  const int64_t heads = is_shared ? 1 : tensor.heads;
  scratch.dtype = dtype;
  scratch.stride_head = is_shared ? 0 : tensor.dim;
  scratch.stride_group = heads * tensor.dim;
  scratch.stride_seq = tensor.groups * scratch.stride_group;
  scratch.stride_batch = tensor.seq * scratch.stride_seq;
  scratch.data = memory_
                     .emplace_back(static_cast<size_t>(tensor.batch * scratch.stride_batch *
                                                       core::bytes_of(dtype)))
                     .data();
  return scratch;
}

Tensor Staging::copy_of(const Tensor& tensor, DType dtype, bool is_shared) {
  const Tensor copy = scratch_of(tensor, dtype, is_shared);
  copy_elements(tensor, copy);
  return copy;
}

void copy_elements(const Tensor& from, const Tensor& to) {
  checks::require_host_memory("copies that this call's dtypes or shared heads need", from.data,
                              "give tensors of one dtype, and K and V that are not expanded");
  const int64_t bytes = core::bytes_of(from.dtype);
  for_each_row(to, [&](const auto& offset_in) {
    const int64_t source = offset_in(from), target = offset_in(to);
    if (from.dtype == to.dtype) {
      std::memcpy(static_cast<char*>(to.data) + target * bytes,
                  static_cast<const char*>(from.data) + source * bytes,
                  static_cast<size_t>(from.dim * bytes));
      return;
    }
    for (int64_t i = 0; i < from.dim; ++i) {
      core::store(to.data, to.dtype, target + i, core::load(from.data, from.dtype, source + i));
    }
  });
}

void check_staged(const char* name, const Tensor& tensor, const Tensor& like, bool is_shared) {
  const std::string of = std::string(name) + ".";
  if (static_cast<uint8_t>(tensor.dtype) > static_cast<uint8_t>(DType::f8_e4m3)) {
    refuse(of + "dtype " + std::to_string(static_cast<int>(tensor.dtype)) +
           ": must be f32, f16 or bf16");
  }
  check_same(of + "batch", tensor.batch, "its operand's", like.batch);
  check_same(of + "seq", tensor.seq, "its operand's", like.seq);
  check_same(of + "groups", tensor.groups, "its operand's", like.groups);
  check_same(of + "heads", tensor.heads, "its operand's", like.heads);
  check_same(of + "dim", tensor.dim, "its operand's", like.dim);
  if (tensor.batch * tensor.seq * tensor.groups * tensor.heads == 0) {
    return;
  }
  if (tensor.data == nullptr) {
    refuse(of + "data is null: a tensor that is not empty needs memory");
  }
  const auto check_stride = [&](const char* axis, int64_t extent, int64_t stride) {
    if (extent > 1) {
      check_at_least(of + "stride_" + axis, stride, 1);
    }
  };
  check_stride("batch", tensor.batch, tensor.stride_batch);
  check_stride("seq", tensor.seq, tensor.stride_seq);
  check_stride("group", tensor.groups, tensor.stride_group);
  if (!is_shared) {
    check_stride("head", tensor.heads, tensor.stride_head);
  }
}

}  // namespace regard::xformers
