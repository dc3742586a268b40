// The engine's entry points: forward and backward of one Problem, by a named module or by the best
// back end.
#pragma once

#include <string>
#include <string_view>

#include "regard/export.h"
#include "regard/modules.h"
#include "regard/problem.h"

namespace regard {

// Which implementation computes a Problem.
enum class Backend : uint8_t {
  automatic,   // the first of the ordered list that supports the problem
  cpu_tiled,   // SIMD, threaded, no Sq x Sk memory
  cpu_decode,  // SIMD, forward only: few query rows against many keys
  cpu_sage,    // the same from int8 scores (Problem.quantization)
  cpu_eager,   // materialised scores, SIMD: the yardstick `eager` means
  reference,   // plain loops in double: the specification; slow
  cuda,        // NVIDIA GPU, operands in its memory: see regard/cuda.h
};

// Empty when `backend` can compute `problem`; else one sentence with the value and the limit.
REGARD_API std::string why_unsupported(Backend backend, const Problem& problem);

// The back end a module runs on here. A named module never falls back in silence.
REGARD_API Backend backend_of(Module module);

// What a back end is chosen for: a forward that no backward follows may run on one that has none.
enum class Pass : uint8_t { inference, training };

// The same for one problem: Backend::cuda where q lies in the memory of a GPU. On a CPU, cpu_decode
// for an inference whose module means exact attention where that kernel serves the problem (few
// query rows).
REGARD_API Backend backend_of(Module module, const Problem& problem, Pass pass = Pass::inference);

// Computes O (and LSE where asked). Deterministic: the same inputs give the same bits at every
// thread count. Throws Error(invalid_argument) for a problem that contradicts itself,
// Error(unsupported) where the back end refuses. Thread-safe; uses up to num_threads() threads; Sq
// = 0 or Hq = 0 writes nothing, Sk = 0 writes zeros and LSE = -inf.
REGARD_API void attention_forward(const Problem& problem, const ForwardOutputs& outputs,
                                  Backend backend = Backend::automatic);

// Computes dQ, dK, dV from dO (and d_lse where given). Same guarantees as the forward.
REGARD_API void attention_backward(const Problem& problem, const BackwardTensors& tensors,
                                   Backend backend = Backend::automatic);

// Threads a call may use; 0 restores the default (OpenMP's).
REGARD_API void set_num_threads(int num_threads);
REGARD_API int num_threads();

// The SIMD target in use, "AVX3", "AVX2", ... ; REGARD_FORCE_TARGET=AVX2 forces one that the CPU
// has.
REGARD_API std::string_view active_target();

// "0.1.0"
REGARD_API std::string_view version();

}  // namespace regard
