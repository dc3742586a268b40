#include "tests/support/guarded_tensor.h"

#include <algorithm>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include "core/dtype.h"

namespace regard::testing {
namespace {

constexpr uint8_t kPoison = 0xFF;       // all ones is a NaN in f32, f16 and bf16
constexpr int64_t kGuardElements = 67;  // odd, so that operands are not aligned to vectors

// Under address sanitizer what lies behind the last row may not even be read.
void forbid([[maybe_unused]] const uint8_t* begin, [[maybe_unused]] const uint8_t* end) {
#ifdef __SANITIZE_ADDRESS__
  __asan_poison_memory_region(begin, static_cast<size_t>(end - begin));
#endif
}
void allow([[maybe_unused]] const std::vector<uint8_t>& bytes) {
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(bytes.data(), bytes.size());
#endif
}

View strided(DType dtype, const Shape& shape, Layout layout) {
  View view{.dtype = dtype,
            .batch = shape.batch,
            .seq = shape.seq,
            .heads = shape.heads,
            .dim = shape.dim};
  const auto [batch, seq, heads, dim] = shape;
  switch (layout) {
    case Layout::bshd:
      view.stride_head = dim;
      view.stride_seq = heads * dim;
      view.stride_batch = seq * heads * dim;
      break;
    case Layout::bhsd:
      view.stride_seq = dim;
      view.stride_head = seq * dim;
      view.stride_batch = heads * seq * dim;
      break;
    case Layout::sliced:
      view.stride_head = dim + 3;
      view.stride_seq = heads * view.stride_head + 5;
      view.stride_batch = seq * view.stride_seq + 7;
      break;
  }
  return view;
}

template <typename Visit>
void for_each_row(const View& view, const Visit& visit) {
  for (int64_t batch = 0; batch < view.batch; ++batch) {
    for (int64_t seq = 0; seq < view.seq; ++seq) {
      for (int64_t head = 0; head < view.heads; ++head) {
        visit(core::row_offset(view, batch, seq, head));
      }
    }
  }
}

}  // namespace

GuardedTensor::GuardedTensor(DType dtype, const Shape& shape, Layout layout)
    : view_(strided(dtype, shape, layout)) {
  const int64_t extent = shape.batch * view_.stride_batch + shape.seq * view_.stride_seq +
                         shape.heads * view_.stride_head + shape.dim;
  bytes_.assign(static_cast<size_t>((extent + 2 * kGuardElements) * core::bytes_of(dtype)),
                kPoison);
  view_.data = bytes_.data() + kGuardElements * core::bytes_of(dtype);
  int64_t end = 0;
  for_each_row(view_, [&](int64_t row) { end = std::max(end, row + view_.dim); });
  forbid(static_cast<const uint8_t*>(view_.data) + end * core::bytes_of(dtype),
         bytes_.data() + bytes_.size());
}

const std::vector<uint8_t>& GuardedTensor::bytes() const {
  allow(bytes_);
  return bytes_;
}

void GuardedTensor::fill(const std::vector<float>& values) {
  size_t next = 0;
  for_each_row(view_, [&](int64_t row) {
    for (int64_t d = 0; d < view_.dim; ++d) {
      core::store(view_.data, view_.dtype, row + d, values.at(next++));
    }
  });
}

std::vector<float> dense(const View& view) {
  std::vector<float> values;
  for_each_row(view, [&](int64_t row) {
    for (int64_t d = 0; d < view.dim; ++d) {
      values.push_back(core::load(view.data, view.dtype, row + d));
    }
  });
  return values;
}

bool GuardedTensor::guards_intact() const {
  allow(bytes_);
  const int64_t element = core::bytes_of(view_.dtype);
  std::vector<uint8_t> outside(bytes_.size(), 1);
  for_each_row(view_, [&](int64_t row) {
    const int64_t begin = (kGuardElements + row) * element;
    std::fill_n(outside.begin() + begin, view_.dim * element, uint8_t{0});
  });
  for (size_t i = 0; i < bytes_.size(); ++i) {
    if (outside[i] != 0 && bytes_[i] != kPoison) {
      return false;
    }
  }
  return true;
}

GuardedLse::GuardedLse(int64_t batch, int64_t heads, int64_t seq)
    : tensor_(DType::f32, {batch, heads, 1, seq}, Layout::sliced) {}

LseView GuardedLse::view() const {
  const View& view = tensor_.view();
  return {.data = static_cast<float*>(view.data),
          .stride_batch = view.stride_batch,
          .stride_head = view.stride_seq};
}

}  // namespace regard::testing
