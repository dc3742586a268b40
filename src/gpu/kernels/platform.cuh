// The hardware as named primitives: kernels reach it through these alone. A GPU's compiler takes
// the instructions; any other compiler takes an emulator of a thread block (platform_host.h, which
// the tests provide), so that the kernels' own text runs without a GPU.
#pragma once

#if defined(__HIP__)
#include "platform_hip.cuh"
#elif defined(__CUDACC__)
#include "platform_cuda.cuh"
#else
#include "platform_host.h"
#endif
