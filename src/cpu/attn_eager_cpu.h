// Calls of the eager back end as the targets' entry points see them.
#pragma once

#include "cpu/attn_bwd_cpu.h"
#include "cpu/attn_fwd_cpu.h"

namespace regard::cpu {

// Forward and backward with materialised scores on the chosen SIMD target. Throw
// Error(out_of_memory), which comes early here: Sq x Sk floats a query head, twice in the backward.
void attn_eager_cpu_forward(const ForwardCall& call);
void attn_eager_cpu_backward(const BackwardCall& call);

}  // namespace regard::cpu
