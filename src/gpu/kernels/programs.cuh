// Score and mask programs of a Problem. This text stands where there is none; a kernel for a
// problem with programs is compiled with a generated text (emit_programs) in its place.
#pragma once

#include "attn_params.h"
#include "platform.cuh"

namespace regard::gpu {

// Positions of a pair as programs count them: `query` includes first_query.
struct ProgramPair {
  int batch, head, query, key, q_len, k_len, document;
};

struct ProgramScore {
  float score;
  float slope;  // d result / d score
};

REGARD_DEVICE ProgramScore score_program(const ProblemParams&, const ProgramPair&, float score) {
  return {score, 1.0f};
}
REGARD_DEVICE bool mask_program(const ProblemParams&, const ProgramPair&) { return true; }

}  // namespace regard::gpu
