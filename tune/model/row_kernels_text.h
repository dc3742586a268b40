// The text of row_kernels.cuh, with row_params.h in its place, embedded at build time.
#pragma once

#include <string_view>

namespace tune::ops::gpu {

extern const std::string_view kRowKernelsText;

}  // namespace tune::ops::gpu
