#include "modules/checks.h"

#include <array>

#include "regard/cuda.h"
#include "regard/error.h"

namespace regard::checks {

void fail(const std::string& message) { throw Error(ErrorCode::invalid_argument, message); }

std::string text(int64_t value) { return std::to_string(value); }

std::string shape_text(std::span<const int64_t> extents) {
  std::string shape;
  for (const int64_t extent : extents) {
    shape.append(shape.empty() ? "[" : ", ").append(text(extent));
  }
  return shape.append("]");
}

std::string shape_text(const View& view) {
  return shape_text(std::array{view.batch, view.seq, view.heads, view.dim});
}

void check_same(const std::string& left, int64_t a, const std::string& right, int64_t b) {
  if (a != b) {
    fail(left + " " + text(a) + " and " + right + " " + text(b) + ": must be equal");
  }
}

void check_cumulative(const std::string& name, const int32_t* offsets, int32_t count) {
  if (offsets[0] != 0) {
    fail(name + "[0] is " + text(offsets[0]) + ": must be 0");
  }
  for (int32_t i = 0; i < count; ++i) {
    if (offsets[i + 1] < offsets[i]) {
      fail(name + "[" + text(i + 1) + "] is " + text(offsets[i + 1]) +
           ": must not be less than the " + text(offsets[i]) + " before it");
    }
  }
}

void require_host_memory(const std::string& what, const void* pointer, const std::string& remedy) {
  if (is_cuda_memory(pointer)) {
    throw Error(ErrorCode::unsupported,
                what + " of memory on a GPU: not served there yet; " + remedy);
  }
}

}  // namespace regard::checks
