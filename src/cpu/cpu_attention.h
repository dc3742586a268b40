// The CPU back ends as the engine's choice sees them. Problems arrive validated (src/api/validate):
// shapes agree, pointers of non-empty operands are set, offsets are monotone, Hq % Hkv == 0, scale
// is finite and resolved, dropout in [0, 1).
//
// Threads  up to regard::num_threads() (regard/attention.h); the same bits for every count.
// Outputs  every element of every output is written, also for empty sequences (Sk = 0) and fully
//          masked rows; nothing outside the views is touched, gaps between strides included.
#pragma once

#include <string>
#include <string_view>

#include "regard/problem.h"

namespace regard::cpu {

// Empty when the back end can compute `problem`, else one sentence with the value and the limit.
std::string why_unsupported_tiled(const Problem& problem);
void forward_tiled(const Problem& problem, const ForwardOutputs& outputs);
void backward_tiled(const Problem& problem, const BackwardTensors& tensors);

// Forward only: few query rows against many keys.
std::string why_unsupported_decode(const Problem& problem);
void forward_decode(const Problem& problem, const ForwardOutputs& outputs);

std::string why_unsupported_eager(const Problem& problem);
void forward_eager(const Problem& problem, const ForwardOutputs& outputs);
void backward_eager(const Problem& problem, const BackwardTensors& tensors);

// Name of the SIMD target that runs: "AVX3", "AVX2", ...
std::string_view active_target();

// Makes `name` (any case) the target from now on; empty restores the best one. The engine passes
// REGARD_FORCE_TARGET here once. Throws Error(invalid_argument) naming the targets the CPU has when
// `name` is none of them.
void force_target(std::string_view name);

}  // namespace regard::cpu
