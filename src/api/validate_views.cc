#include <algorithm>
#include <limits>

#include "api/validate_parts.h"
#include "core/dtype.h"

namespace regard::api {
namespace {

// Positions are 32-bit words of the dropout counter and of document offsets.
constexpr int64_t kLargestExtent = std::numeric_limits<int32_t>::max();

}  // namespace

bool is_empty(const View& view) {
  return view.batch == 0 || view.seq == 0 || view.heads == 0 || view.dim == 0;
}

void check_extent(const std::string& name, int64_t value, int64_t least) {
  if (value < least || value > kLargestExtent) {
    fail(name + " " + text(value) + ": must be from " + text(least) + " to " +
         text(kLargestExtent));
  }
}

void check_pointer(const std::string& name, const void* data, int64_t alignment) {
  if (data == nullptr) {
    fail(name + ".data is null: a view that is not empty needs memory");
  }
  if (reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(alignment) != 0) {
    fail(name + ".data is not aligned to its element of " + text(alignment) + " bytes");
  }
}

void check_strides(const std::string& name, std::array<int64_t, 4> strides) {
  for (const int64_t stride : strides) {
    if (stride < 0) {
      fail(name + " has a stride of " + text(stride) +
           ": strides count elements and must be 0 (broadcast) or more");
    }
  }
}

void check_view(const std::string& name, const View& view) {
  if (static_cast<uint8_t>(view.dtype) > static_cast<uint8_t>(DType::f8_e4m3)) {
    fail(name + ".dtype " + text(static_cast<int>(view.dtype)) + ": must be f32, f16 or bf16");
  }
  check_extent(name + ".batch", view.batch, 0);
  check_extent(name + ".seq", view.seq, 0);
  check_extent(name + ".heads", view.heads, 0);
  check_extent(name + ".dim", view.dim, 1);
  check_strides(name, {view.stride_batch, view.stride_seq, view.stride_head, 0});
  if (!is_empty(view)) {
    check_pointer(name, view.data, core::bytes_of(view.dtype));
  }
}

// Axes nest without overlap when, from the smallest stride up, each steps over all that lies below
// it. Both usual layouts and every slice of a larger tensor do.
void check_no_overlap(const std::string& name, std::array<Axis, 4> axes, int64_t inner) {
  std::sort(axes.begin(), axes.end(), [](const Axis& a, const Axis& b) {
    return a.stride != b.stride ? a.stride < b.stride : a.extent < b.extent;
  });
  int64_t covered = inner;
  for (const Axis& axis : axes) {
    if (axis.extent <= 1) {
      continue;
    }
    if (axis.stride < covered) {
      fail(name + " overlaps itself: a stride of " + text(axis.stride) +
           " where the rows below it take " + text(covered) + " elements");
    }
    covered = axis.stride * (axis.extent - 1) + covered;
  }
}

void check_output(const std::string& name, const View& view, const View& like,
                  const std::string& like_name) {
  check_view(name, view);
  if (view.dtype == DType::f8_e4m3) {
    fail(name + " is f8_e4m3, a dtype of q, k and v only: must be f32, f16 or bf16");
  }
  if (view.batch != like.batch || view.seq != like.seq || view.heads != like.heads ||
      view.dim != like.dim) {
    fail(name + " has the shape " + shape_text(view) + ": must be that of " + like_name + ", " +
         shape_text(like));
  }
  if (!is_empty(view)) {
    check_no_overlap(name,
                     {Axis{view.stride_batch, view.batch}, Axis{view.stride_seq, view.seq},
                      Axis{view.stride_head, view.heads}, Axis{0, 1}},
                     view.dim);
  }
}

}  // namespace regard::api
