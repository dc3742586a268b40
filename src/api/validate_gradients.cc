#include <string>

#include "api/validate_parts.h"

namespace regard::api {
namespace {

void check_bias_gradient(const Problem& problem, const BiasGradient& d_bias) {
  const BiasTensor& bias = problem.bias;
  if (bias.data == nullptr) {
    fail("d_bias without a bias: leave d_bias.data null");
  }
  check_pointer("d_bias", d_bias.data, sizeof(float));
  check_strides("d_bias",
                {d_bias.stride_batch, d_bias.stride_head, d_bias.stride_q, d_bias.stride_k});
  struct BiasAxis {
    const char* name;
    int64_t stride, gradient_stride, extent;
  };
  const std::array<BiasAxis, 4> axes = {
      BiasAxis{"batch", bias.stride_batch, d_bias.stride_batch, problem.q.batch},
      BiasAxis{"head", bias.stride_head, d_bias.stride_head, problem.q.heads},
      BiasAxis{"q", bias.stride_q, d_bias.stride_q, problem.q.seq},
      BiasAxis{"k", bias.stride_k, d_bias.stride_k, problem.k.seq}};
  std::array<Axis, 4> written;
  for (size_t i = 0; i < axes.size(); ++i) {
    const BiasAxis& axis = axes[i];
    if (axis.extent > 1 && (axis.stride == 0) != (axis.gradient_stride == 0)) {
      fail(std::string("d_bias.stride_") + axis.name + " " + text(axis.gradient_stride) +
           " where the bias has " + text(axis.stride) +
           ": must be 0 exactly where the bias is broadcast");
    }
    written[i] = {axis.gradient_stride, axis.stride == 0 ? 1 : axis.extent};
  }
  check_no_overlap("d_bias", written, 1);
}

void check_program_gradients(const Problem& problem, float* const* d_tensors) {
  const BoundProgram& program = problem.score_program;
  if (program.program == nullptr) {
    fail("d_tensors without a score program: leave it null");
  }
  for (int32_t i = 0; i < program.num_tensors; ++i) {
    if (d_tensors[i] == nullptr) {
      continue;
    }
    const std::string name = "d_tensors[" + text(i) + "]";
    if (program.tensors[i].is_integer) {
      fail(name + " of an integer tensor: must be null, only f32 tensors have gradients");
    }
    check_pointer(name, d_tensors[i], sizeof(float));
  }
}

}  // namespace

void check_score_gradients(const Problem& problem, const BackwardTensors& tensors) {
  if (tensors.d_bias.data != nullptr) {
    check_bias_gradient(problem, tensors.d_bias);
  }
  if (tensors.d_slopes != nullptr) {
    if (problem.alibi.slopes == nullptr) {
      fail("d_slopes without ALiBi slopes: leave it null");
    }
    check_pointer("d_slopes", tensors.d_slopes, sizeof(float));
  }
  if (tensors.d_sink != nullptr) {
    if (problem.sink.logits == nullptr) {
      fail("d_sink without a sink: leave it null");
    }
    check_pointer("d_sink", tensors.d_sink, sizeof(float));
  }
  if (tensors.d_tensors != nullptr) {
    check_program_gradients(problem, tensors.d_tensors);
  }
}

}  // namespace regard::api
