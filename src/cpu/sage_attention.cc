#include "cpu/sage_attention.h"

#include "core/features.h"
#include "cpu/cpu_attention.h"
#include "cpu/sage_bwd_cpu.h"
#include "cpu/sage_fwd_cpu.h"
#include "cpu/sage_operands.h"
#include "regard/attention.h"

namespace regard::cpu {
namespace {

constexpr uint32_t kServedBySage = core::bit(core::Feature::chunks) |
                                   core::bit(core::Feature::int8_scores) |
                                   core::bit(core::Feature::rounded_values);

}  // namespace

std::string why_unsupported_sage(const Problem& problem) {
  if (problem.quantization.scores != ScoreFormat::int8) {
    return "exact scores: the int8 CPU kernels serve quantised ones only";
  }
  if (const char* feature = core::first_unserved(problem, kServedBySage)) {
    return std::string(feature) + ": the int8 CPU kernels do not serve it";
  }
  Problem exact = problem;  // the products beside Q K^T are those of the tiled kernels
  exact.quantization = {};
  return why_unsupported_tiled(exact);
}

void forward_sage(const Problem& problem, const ForwardOutputs& outputs) {
  const SageOperands operands(problem, num_threads());
  sage_fwd_cpu({&problem, &operands, &outputs, num_threads()});
}

void backward_sage(const Problem& problem, const BackwardTensors& tensors) {
  sage_bwd_cpu(problem, tensors, num_threads());
}

}  // namespace regard::cpu
