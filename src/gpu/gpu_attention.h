// The GPU engine as a back end: Problems over device memory.
#pragma once

#include <string>

#include "regard/problem.h"

namespace regard::gpu {

// Empty when the engine computes the forward of `problem` on the GPU whose memory it lies in; else
// a sentence: no driver, no compiler, host memory, or what the kernels do not serve yet.
std::string why_unsupported_cuda(const Problem& problem);

// Enqueues the forward on cuda_stream() (regard/cuda.h) of the calling thread's current context;
// where it has none, the primary context of the memory's GPU becomes current.
void forward_cuda(const Problem& problem, const ForwardOutputs& outputs);

// The same for the backward. Throws Error(unsupported) with the kernels' reasons where none
// computes what is asked for.
void backward_cuda(const Problem& problem, const BackwardTensors& tensors);

}  // namespace regard::gpu
