// Merging parts by their LSE, one row at a time; memory bound, so plain loops.
#include "regard/merge_attention.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "api/validate_parts.h"
#include "core/dtype.h"
#include "cpu/task_queue.h"
#include "regard/attention.h"
#include "regard/error.h"

namespace regard {
namespace {

using api::is_empty;
using api::shape_text;

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorCode::invalid_argument, "merge_attention: " + message);
}

void check_part(const std::string& name, const View& o, const LseView& lse, const View& like,
                bool needs_lse) {
  if (o.batch != like.batch || o.seq != like.seq || o.heads != like.heads || o.dim != like.dim) {
    fail(name + " has the shape " + shape_text(o) + ": all must have that of the first part, " +
         shape_text(like));
  }
  if (o.dtype == DType::f8_e4m3) {
    fail(name + " is f8_e4m3: must be f32, f16 or bf16");
  }
  if (is_empty(o)) {
    return;
  }
  if (o.data == nullptr) {
    fail(name + " has no memory");
  }
  api::check_view(name, o);
  if (lse.data != nullptr) {
    api::check_pointer("the LSE of " + name, lse.data, sizeof(float));
    api::check_strides("the LSE of " + name, {lse.stride_batch, lse.stride_head, 0, 0});
  }
  if (needs_lse && lse.data == nullptr) {
    fail(name + " has no LSE: the forward must be asked for it");
  }
}

// Row (batch, seq, head) of every part and of the result.
struct RowIndex {
  int64_t batch, seq, head;
};

float& lse_at(const LseView& lse, const RowIndex& row) {
  return lse.data[row.batch * lse.stride_batch + row.head * lse.stride_head + row.seq];
}

int64_t offset_of(const View& view, const RowIndex& row) {
  return core::row_offset(view, row.batch, row.seq, row.head);
}

// The softmax over the parts' LSEs. Weights are divided by the sum instead of exp(LSE_i - LSE): the
// LSE of large scores has lost the logarithm's digits (at 5000 its last bit is 5e-4).
struct PartSoftmax {
  float largest = kMinusInfinity;  // NaN where an LSE is
  float sum = 0;

  float lse() const { return largest == kMinusInfinity ? largest : largest + std::log(sum); }
  // 0 for a part without keys, also where no part has any.
  float weight(float lse_of_part) const {
    return lse_of_part == kMinusInfinity ? 0.0f : std::exp(lse_of_part - largest) / sum;
  }
};

PartSoftmax softmax_of(std::span<const AttentionPart> parts, const RowIndex& row) {
  PartSoftmax softmax;
  for (const AttentionPart& part : parts) {
    const float lse = lse_at(part.lse, row);
    softmax.largest = lse <= softmax.largest ? softmax.largest : lse;
  }
  for (const AttentionPart& part : parts) {
    const float lse = lse_at(part.lse, row);
    softmax.sum += lse == kMinusInfinity ? 0.0f : std::exp(lse - softmax.largest);
  }
  return softmax;
}

void merge_row(std::span<const AttentionPart> parts, const ForwardOutputs& merged,
               const RowIndex& row, std::vector<float>& o) {
  const PartSoftmax softmax = softmax_of(parts, row);
  std::fill(o.begin(), o.end(), 0.0f);
  for (const AttentionPart& part : parts) {
    const float weight = softmax.weight(lse_at(part.lse, row));
    if (weight == 0.0f) {
      continue;
    }
    const int64_t offset = offset_of(part.o, row);
    for (size_t i = 0; i < o.size(); ++i) {
      o[i] += weight * core::load(part.o.data, part.o.dtype, offset + static_cast<int64_t>(i));
    }
  }
  const int64_t offset = offset_of(merged.o, row);
  for (size_t i = 0; i < o.size(); ++i) {
    core::store(merged.o.data, merged.o.dtype, offset + static_cast<int64_t>(i), o[i]);
  }
  if (merged.lse.data != nullptr) {
    lse_at(merged.lse, row) = softmax.lse();
  }
}

void differentiate_row(const AttentionPart& part, float weight, const View& merged_o,
                       const View& d_o, const LseView& d_lse, const RowIndex& row,
                       const PartGradients& gradient) {
  const int64_t part_row = offset_of(part.o, row), merged_row = offset_of(merged_o, row);
  const int64_t in_row = offset_of(d_o, row), out_row = offset_of(gradient.d_o, row);
  float through_lse = d_lse.data != nullptr ? lse_at(d_lse, row) : 0.0f;
  for (int64_t i = 0; i < d_o.dim; ++i) {
    const float in = core::load(d_o.data, d_o.dtype, in_row + i);
    if (weight != 0.0f) {
      through_lse += in * (core::load(part.o.data, part.o.dtype, part_row + i) -
                           core::load(merged_o.data, merged_o.dtype, merged_row + i));
    }
    core::store(gradient.d_o.data, gradient.d_o.dtype, out_row + i, weight * in);
  }
  lse_at(gradient.d_lse, row) = weight == 0.0f ? 0.0f : weight * through_lse;
}

void check_parts(std::span<const AttentionPart> parts) {
  if (parts.empty()) {
    fail("no parts: give one or more");
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    check_part("part " + std::to_string(i), parts[i].o, parts[i].lse, parts[0].o, true);
  }
}

// Calls visit(row, buffer of o.dim floats) for all rows, a batch and sequence position a task.
template <class Visit>
void for_each_row(const View& o, const Visit& visit) {
  if (is_empty(o)) {
    return;
  }
  const int threads = num_threads();
  std::vector<std::vector<float>> buffers(static_cast<size_t>(threads));
  for (std::vector<float>& buffer : buffers) {
    buffer.resize(static_cast<size_t>(o.dim));
  }
  cpu::run_tasks(o.batch * o.seq, threads, [&](int64_t index, int thread) {
    for (int64_t head = 0; head < o.heads; ++head) {
      visit(RowIndex{index / o.seq, index % o.seq, head}, buffers[static_cast<size_t>(thread)]);
    }
  });
}

}  // namespace

void merge_attention(std::span<const AttentionPart> parts, const ForwardOutputs& merged) {
  check_parts(parts);
  check_part("the result", merged.o, merged.lse, parts[0].o, false);
  for_each_row(merged.o, [&](const RowIndex& row, std::vector<float>& o) {
    merge_row(parts, merged, row, o);
  });
}

void merge_attention_backward(std::span<const AttentionPart> parts, const View& merged_o,
                              const View& d_o, const LseView& d_lse,
                              std::span<const PartGradients> gradients) {
  check_parts(parts);
  check_part("the result", merged_o, {}, parts[0].o, false);
  check_part("d_o", d_o, d_lse, parts[0].o, false);
  if (gradients.size() != parts.size()) {
    fail(std::to_string(gradients.size()) + " gradients for " + std::to_string(parts.size()) +
         " parts: give one for each");
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    check_part("gradient " + std::to_string(i), gradients[i].d_o, gradients[i].d_lse, parts[0].o,
               true);
  }
  for_each_row(d_o, [&](const RowIndex& row, std::vector<float>&) {
    const PartSoftmax softmax = softmax_of(parts, row);
    for (size_t i = 0; i < parts.size(); ++i) {
      const float weight = softmax.weight(lse_at(parts[i].lse, row));
      differentiate_row(parts[i], weight, merged_o, d_o, d_lse, row, gradients[i]);
    }
  });
}

}  // namespace regard
