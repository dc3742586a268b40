// Score and mask programs of a Problem. This text stands where there is none; a kernel for a
// problem with programs is compiled with a generated text of the same functions in its place
// (plan/emit_programs.h).
#pragma once

#include "program_functions.cuh"

namespace regard::gpu {

REGARD_DEVICE ProgramScore score_program(const ProblemParams&, const ProgramPair&, float score) {
  return {score, 1.0f};
}

// add(tensor, element, derivative) for each element of an f32 tensor that the score of the pair
// was computed from: d result / d element, and its place in the contiguous tensor.
template <typename Add>
REGARD_DEVICE void score_program_reads(const ProblemParams&, const ProgramPair&, float,
                                       const Add&) {}

REGARD_DEVICE bool mask_program(const ProblemParams&, const ProgramPair&) { return true; }

}  // namespace regard::gpu
