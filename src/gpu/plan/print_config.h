// AttnConfig in words: for logs, and as the text that becomes a kernel's template argument.
#pragma once

#include <string>

#include "gpu/kernels/attn_config.h"

namespace regard::gpu {

// "attn_fwd_mma[bf16 d128 v128 q128 k32 w4 m16n8k16 async vectorised limits]"
std::string describe(const char* stem, const AttnConfig& config);

// "AttnConfig{.element = Element::bf16, ...}", every field by name.
std::string literal(const AttnConfig& config);

}  // namespace regard::gpu
