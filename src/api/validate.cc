#include "api/validate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "core/dtype.h"
#include "regard/error.h"

namespace regard::api {
namespace {

// Positions are 32-bit words of the dropout counter and of document offsets.
constexpr int64_t kLargestExtent = std::numeric_limits<int32_t>::max();

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorCode::invalid_argument, message);
}

std::string text(int64_t value) { return std::to_string(value); }

std::string shape_text(const View& view) {
  std::string shape;
  for (const int64_t extent : {view.batch, view.seq, view.heads, view.dim}) {
    shape.append(shape.empty() ? "[" : ", ").append(text(extent));
  }
  return shape.append("]");
}

bool is_known(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

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

void check_view(const std::string& name, const View& view) {
  if (!is_known(view.dtype)) {
    fail(name + ".dtype " + text(static_cast<int>(view.dtype)) + ": must be f32, f16 or bf16");
  }
  check_extent(name + ".batch", view.batch, 0);
  check_extent(name + ".seq", view.seq, 0);
  check_extent(name + ".heads", view.heads, 0);
  check_extent(name + ".dim", view.dim, 1);
  for (const int64_t stride : {view.stride_batch, view.stride_seq, view.stride_head}) {
    if (stride < 0) {
      fail(name + " has a stride of " + text(stride) +
           ": strides count elements and must be 0 or "
           "more");
    }
  }
  if (!is_empty(view)) {
    check_pointer(name, view.data, core::bytes_of(view.dtype));
  }
}

struct Axis {
  int64_t stride, extent;
};

// Axes nest without overlap when, from the smallest stride up, each steps over all that lies below
// it. Both usual layouts and every slice of a larger tensor do.
template <size_t kCount>
void check_no_overlap(const std::string& name, std::array<Axis, kCount> axes, int64_t inner) {
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
  if (view.batch != like.batch || view.seq != like.seq || view.heads != like.heads ||
      view.dim != like.dim) {
    fail(name + " has the shape " + shape_text(view) + ": must be that of " + like_name + ", " +
         shape_text(like));
  }
  if (!is_empty(view)) {
    check_no_overlap(
        name,
        std::array{Axis{view.stride_batch, view.batch}, Axis{view.stride_seq, view.seq},
                   Axis{view.stride_head, view.heads}},
        view.dim);
  }
}

void check_lse(const std::string& name, const LseView& lse, const Problem& problem,
               bool is_written) {
  if (lse.stride_batch < 0 || lse.stride_head < 0) {
    fail(name + " has a negative stride: must be 0 or more");
  }
  if (problem.q.batch == 0 || problem.q.heads == 0 || problem.q.seq == 0) {
    return;
  }
  check_pointer(name, lse.data, sizeof(float));
  if (is_written) {
    check_no_overlap(
        name,
        std::array{Axis{lse.stride_batch, problem.q.batch}, Axis{lse.stride_head, problem.q.heads}},
        problem.q.seq);
  }
}

void check_same(const std::string& left, int64_t a, const std::string& right, int64_t b) {
  if (a != b) {
    fail(left + " " + text(a) + " and " + right + " " + text(b) + ": must be equal");
  }
}

void check_operands(const Problem& problem) {
  const View &q = problem.q, &k = problem.k, &v = problem.v;
  check_view("q", q);
  check_view("k", k);
  check_view("v", v);
  check_same("q.batch", q.batch, "k.batch", k.batch);
  check_same("k.batch", k.batch, "v.batch", v.batch);
  check_same("k.seq", k.seq, "v.seq", v.seq);
  check_same("k.heads", k.heads, "v.heads", v.heads);
  check_same("q.dim", q.dim, "k.dim", k.dim);
  if (k.heads == 0 ? q.heads != 0 : q.heads % k.heads != 0) {
    fail("q.heads " + text(q.heads) + ": must be a multiple of k.heads " + text(k.heads));
  }
  if (q.dtype != k.dtype || k.dtype != v.dtype) {
    fail(std::string("dtypes ") + core::name_of(q.dtype) + ", " + core::name_of(k.dtype) + ", " +
         core::name_of(v.dtype) + " of q, k, v: must be equal");
  }
}

void check_scalars(const Problem& problem) {
  if (!std::isfinite(problem.scale)) {
    fail("scale " + std::to_string(problem.scale) + ": must be finite; 0 means 1/sqrt(D)");
  }
  if (!std::isfinite(problem.softcap) || problem.softcap < 0.0f) {
    fail("softcap " + std::to_string(problem.softcap) + ": must be finite and 0 (off) or more");
  }
  const float probability = problem.dropout.probability;
  if (!(probability >= 0.0f && probability < 1.0f)) {
    fail("dropout probability " + std::to_string(probability) +
         ": must be 0 or more and less than 1");
  }
  if (static_cast<uint8_t>(problem.causal) > static_cast<uint8_t>(Causal::lower_right)) {
    fail("causal " + text(static_cast<int>(problem.causal)) +
         ": must be none, upper_left or lower_right");
  }
  if (problem.window.left < -1 || problem.window.right < -1) {
    fail("window (" + text(problem.window.left) + ", " + text(problem.window.right) +
         "): each side must be 0 or more, or -1 for no bound");
  }
}

void check_offsets(const std::string& name, const int32_t* offsets, int32_t count, int64_t end) {
  if (offsets == nullptr) {
    fail("documents." + name + " is null: " + text(count) + " documents need " + text(count + 1) +
         " offsets");
  }
  if (offsets[0] != 0) {
    fail("documents." + name + "[0] is " + text(offsets[0]) + ": must be 0");
  }
  for (int32_t i = 0; i < count; ++i) {
    if (offsets[i + 1] < offsets[i]) {
      fail("documents." + name + "[" + text(i + 1) + "] is " + text(offsets[i + 1]) +
           ": must not be less than the " + text(offsets[i]) + " before it");
    }
  }
  if (offsets[count] != end) {
    fail("documents." + name + "[" + text(count) + "] is " + text(offsets[count]) +
         ": must be the sequence length " + text(end));
  }
}

void check_documents(const Problem& problem) {
  const Documents& documents = problem.documents;
  if (documents.count < 0) {
    fail("documents.count " + text(documents.count) + ": must be 0 (not packed) or more");
  }
  if (documents.count == 0) {
    return;
  }
  if (problem.q.batch != 1) {
    fail("batch " + text(problem.q.batch) + " with " + text(documents.count) +
         " packed documents: must be 1");
  }
  check_offsets("q_offsets", documents.q_offsets, documents.count, problem.q.seq);
  check_offsets("k_offsets", documents.k_offsets, documents.count, problem.k.seq);
}

void check_score_strides(const std::string& name, std::array<int64_t, 4> strides) {
  for (const int64_t stride : strides) {
    if (stride < 0) {
      fail(name + " has a stride of " + text(stride) + ": must be 0 (broadcast) or more elements");
    }
  }
}

void check_mask_and_bias(const Problem& problem) {
  const MaskTensor& mask = problem.mask;
  if (mask.data != nullptr) {
    check_score_strides("mask",
                        {mask.stride_batch, mask.stride_head, mask.stride_q, mask.stride_k});
  }
  const BiasTensor& bias = problem.bias;
  if (bias.data != nullptr) {
    if (!is_known(bias.dtype)) {
      fail("bias.dtype " + text(static_cast<int>(bias.dtype)) + ": must be f32, f16 or bf16");
    }
    check_pointer("bias", bias.data, core::bytes_of(bias.dtype));
    check_score_strides("bias",
                        {bias.stride_batch, bias.stride_head, bias.stride_q, bias.stride_k});
  }
  if (problem.alibi.slopes != nullptr) {
    check_pointer("alibi.slopes", problem.alibi.slopes, sizeof(float));
    check_score_strides("alibi", {problem.alibi.stride_batch, 0, 0, 0});
  }
}

View shape_of_o(const Problem& problem) {
  View o = problem.q;
  o.dim = problem.v.dim;
  return o;
}

void check_dtype(const std::string& name, DType dtype, const Problem& problem) {
  if (dtype != problem.q.dtype) {
    fail(name + " is " + core::name_of(dtype) + ": must have the dtype of q, " +
         core::name_of(problem.q.dtype));
  }
}

}  // namespace

Problem validated(const Problem& problem) {
  check_operands(problem);
  check_scalars(problem);
  check_documents(problem);
  check_mask_and_bias(problem);
  Problem resolved = problem;
  if (resolved.scale == 0.0f) {
    resolved.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(problem.q.dim)));
  }
  return resolved;
}

void validate_forward(const Problem& problem, const ForwardOutputs& outputs) {
  check_output("o", outputs.o, shape_of_o(problem), "q with the head size of v");
  check_dtype("o", outputs.o.dtype, problem);
  if (outputs.lse.data != nullptr) {
    check_lse("lse", outputs.lse, problem, true);
  }
}

void validate_backward(const Problem& problem, const BackwardTensors& tensors) {
  const View o = shape_of_o(problem);
  for (const auto& [name, view] : {std::pair{"o", &tensors.o}, std::pair{"d_o", &tensors.d_o}}) {
    check_view(name, *view);
    check_dtype(name, view->dtype, problem);
    if (view->batch != o.batch || view->seq != o.seq || view->heads != o.heads ||
        view->dim != o.dim) {
      fail(std::string(name) + " has the shape " + shape_text(*view) + ": must be " +
           shape_text(o));
    }
  }
  check_lse("lse", tensors.lse, problem, false);
  if (tensors.d_lse.data != nullptr) {
    check_lse("d_lse", tensors.d_lse, problem, false);
  }
  check_output("dq", tensors.dq, problem.q, "q");
  check_output("dk", tensors.dk, problem.k, "k");
  check_output("dv", tensors.dv, problem.v, "v");
}

}  // namespace regard::api
