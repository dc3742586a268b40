#include "api/validate.h"

#include <cmath>
#include <string>
#include <utility>

#include "api/validate_parts.h"
#include "core/dtype.h"
#include "core/sequences.h"
#include "gpu/pointers.h"
#include "program/check.h"

namespace regard::api {
namespace {

void check_lse(const std::string& name, const LseView& lse, const Problem& problem,
               bool is_written) {
  check_strides(name, {lse.stride_batch, lse.stride_head, 0, 0});
  if (problem.q.batch == 0 || problem.q.heads == 0 || problem.q.seq == 0) {
    return;
  }
  check_pointer(name, lse.data, sizeof(float));
  if (is_written) {
    check_no_overlap(name,
                     {Axis{lse.stride_batch, problem.q.batch},
                      Axis{lse.stride_head, problem.q.heads}, Axis{0, 1}, Axis{0, 1}},
                     problem.q.seq);
  }
}

void check_operands(const Problem& problem) {
  const View &q = problem.q, &k = problem.k, &v = problem.v;
  check_view("q", q);
  check_view("k", k);
  check_view("v", v);
  if (!core::is_paged(problem)) {  // else k and v count pages
    check_same("q.batch", q.batch, "k.batch", k.batch);
  }
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

View shape_of_o(const Problem& problem) {
  View o = problem.q;
  o.dim = problem.v.dim;
  return o;
}

void check_dtype(const std::string& name, DType dtype, const Problem& problem) {
  if (dtype != problem.q.dtype && problem.q.dtype != DType::f8_e4m3) {
    fail(name + " is " + core::name_of(dtype) + ": must have the dtype of q, " +
         core::name_of(problem.q.dtype));
  }
}

void check_has_backward(const Problem& problem) {
  if (core::is_paged(problem)) {
    fail("pages in a backward: they have a forward only; copy keys and values to contiguous rows");
  }
  if (problem.q.dtype == DType::f8_e4m3) {
    fail("f8_e4m3 operands in a backward: they have a forward only; give f32, f16 or bf16");
  }
  check_keys_belong_to_one_document(problem);
}

}  // namespace

Problem validated(const Problem& problem) { return validated(problem, Backend::automatic); }

Problem validated(const Problem& problem, Backend backend) {
  const bool is_on_gpu = backend == Backend::cuda;
  if (const std::string reason = is_on_gpu ? gpu::why_host_cannot_read(problem) : "";
      !reason.empty()) {
    fail(reason);
  }
  check_operands(problem);
  check_scalars(problem);
  check_chunks(problem);
  check_documents(problem);
  check_pages(problem);
  check_score_tensors(problem);
  check_block_mask(problem);
  check_precision(problem);
  Problem resolved = problem;
  if (resolved.scale == 0.0f) {
    resolved.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(problem.q.dim)));
  }
  if (!is_on_gpu || gpu::host_reads_program_tensors(problem)) {
    program::check_programs(resolved);
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
  check_has_backward(problem);
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
  check_score_gradients(problem, tensors);
}

}  // namespace regard::api
