#include "cpu/cpu_attention.h"

#include <algorithm>
#include <limits>

#include "core/features.h"
#include "cpu/attn_bwd_cpu.h"
#include "cpu/attn_decode_cpu.h"
#include "cpu/attn_eager_cpu.h"
#include "cpu/attn_fwd_cpu.h"
#include "cpu/program_blocks.h"
#include "regard/attention.h"

namespace regard::cpu {
namespace {

// Parts of a Problem beyond operands, causal, window, documents, mask, bias, ALiBi, softcap,
// dropout.
constexpr uint32_t kServedByTiled =
    core::bit(core::Feature::chunks) | core::bit(core::Feature::lengths) |
    core::bit(core::Feature::pages) | core::bit(core::Feature::block_mask) |
    core::bit(core::Feature::sink) | core::bit(core::Feature::score_program) |
    core::bit(core::Feature::mask_program) | core::bit(core::Feature::descale) |
    core::bit(core::Feature::f8);
constexpr uint32_t kServedByDecode =
    core::bit(core::Feature::chunks) | core::bit(core::Feature::lengths) |
    core::bit(core::Feature::pages) | core::bit(core::Feature::block_mask) |
    core::bit(core::Feature::sink) | core::bit(core::Feature::descale) |
    core::bit(core::Feature::f8);
constexpr uint32_t kServedByEager =
    core::bit(core::Feature::chunks) | core::bit(core::Feature::lengths) |
    core::bit(core::Feature::block_mask) | core::bit(core::Feature::sink);

// Positions and limits are 32-bit lanes.
std::string length_limit(const Problem& problem) {
  constexpr int64_t kLargestLength = std::numeric_limits<int32_t>::max() / 2;
  const int64_t largest = std::max(problem.q.seq, problem.k.seq);
  if (largest > kLargestLength) {
    return "sequence length " + std::to_string(largest) + ": the CPU kernels take up to " +
           std::to_string(kLargestLength);
  }
  return "";
}

}  // namespace

std::string why_unsupported_tiled(const Problem& problem) {
  if (const char* feature = core::first_unserved(problem, kServedByTiled)) {
    return std::string(feature) + ": the tiled CPU kernels do not serve it";
  }
  return length_limit(problem);
}

void forward_tiled(const Problem& problem, const ForwardOutputs& outputs) {
  const ProgramBlocks blocks(problem);
  attn_fwd_cpu({&blocks.problem(), &outputs, num_threads()});
}

void backward_tiled(const Problem& problem, const BackwardTensors& tensors) {
  const ProgramBlocks blocks(problem);
  attn_bwd_cpu({&blocks.problem(), &tensors, num_threads()});
}

std::string why_unsupported_decode(const Problem& problem) {
  if (const char* feature = core::first_unserved(problem, kServedByDecode)) {
    return std::string(feature) + ": the decode kernel does not serve it";
  }
  if (const int64_t rows = most_decode_rows(problem); rows > kMostDecodeRows) {
    return std::to_string(rows) + " query rows a key/value head: the decode kernel takes up to " +
           std::to_string(kMostDecodeRows);
  }
  return length_limit(problem);
}

void forward_decode(const Problem& problem, const ForwardOutputs& outputs) {
  attn_decode_cpu({&problem, &outputs, num_threads()});
}

std::string why_unsupported_eager(const Problem& problem) {
  if (const char* feature = core::first_unserved(problem, kServedByEager)) {
    return std::string(feature) + ": materialised attention does not serve it";
  }
  return length_limit(problem);
}

void forward_eager(const Problem& problem, const ForwardOutputs& outputs) {
  attn_eager_cpu_forward({&problem, &outputs, num_threads()});
}

void backward_eager(const Problem& problem, const BackwardTensors& tensors) {
  attn_eager_cpu_backward({&problem, &tensors, num_threads()});
}

}  // namespace regard::cpu
