// The kernels in the order in which they are asked: the first that serves a problem computes it.
#pragma once

#include <string>

#include "gpu/driver/cuda_driver.h"
#include "regard/problem.h"

namespace regard::gpu {

// The GPU of a call, whose context is current.
struct Gpu {
  const CudaDriver* driver = nullptr;
  int compute_capability = 0;
  int num_multiprocessors = 0;
  CudaStream stream = nullptr;
};

struct ForwardKernel {
  const char* stem;
  // Empty when it computes the forward of a (validated) problem; else a sentence.
  std::string (*why_unsupported)(const Problem&, int compute_capability);
  void (*launch)(const Gpu&, const Problem&, const ForwardOutputs&);
};

struct BackwardKernel {
  const char* stem;
  // Empty when it computes what `tensors` asks for; else a sentence.
  std::string (*why_unsupported)(const Problem&, const BackwardTensors& tensors,
                                 int compute_capability);
  void (*launch)(const Gpu&, const Problem&, const BackwardTensors&);
};

// The first kernel that serves `problem`; null with the reasons of all where there is none.
const ForwardKernel* choose_forward(const Problem& problem, int compute_capability,
                                    std::string& reasons);
const BackwardKernel* choose_backward(const Problem& problem, const BackwardTensors& tensors,
                                      int compute_capability, std::string& reasons);

}  // namespace regard::gpu
