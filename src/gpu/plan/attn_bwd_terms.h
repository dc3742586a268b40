// Planner of attn_bwd_terms and attn_bwd_sink: gradients of bias, slopes, sink and the score
// program's tensors, beside any backward of the GPU engine. Touches no GPU.
#pragma once

#include "gpu/plan/attn_bwd_mma.h"

namespace regard::gpu {

// Appends what `tensors` asks for to `plan`, whose launches leave row_lse and row_delta in the
// workspace, and enlarges the workspace. Deterministic. Serves what attn_bwd_simt serves.
void add_term_launches(const Problem& problem, const BackwardTensors& tensors,
                       int compute_capability, AttnBwdPlan& plan);

}  // namespace regard::gpu
