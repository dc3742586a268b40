// Attention over keys that were computed in parts: split over devices, or a shared prefix and a
// suffix. Exact, because the LSE of a part says what its softmax was divided by.
#pragma once

#include <span>

#include "regard/export.h"
#include "regard/problem.h"

namespace regard {

// What one forward wrote: O [B, Sq, Hq, Dv] (f32, f16 or bf16) and LSE [B, Hq, Sq].
struct AttentionPart {
  View o{};
  LseView lse{};
};

// LSE = log sum_i exp(LSE_i) and O = sum_i exp(LSE_i - LSE) O_i, in f32. A part that sees no key of
// a row (LSE_i = -inf) adds nothing to it, whatever its O_i holds; a row that no part sees has
// O = 0, LSE = -inf. `merged.lse.data` may be null; `merged.o` may have any dtype but f8, and may
// be the memory of one of the parts. With a sink, give it to one part only. Throws
// Error(invalid_argument) for no parts, shapes that differ, or memory that is missing.
REGARD_API void merge_attention(std::span<const AttentionPart> parts, const ForwardOutputs& merged);

// The gradients of one part: d_o of O_i, any dtype but f8, and d_lse of LSE_i.
struct PartGradients {
  View d_o{};
  LseView d_lse{};
};

// dO_i = w_i dO and dLSE_i = w_i (dO . (O_i - O) + dLSE), w_i = exp(LSE_i - LSE): what the backward
// of each part reads as d_o and d_lse. `merged_o` is the O that the merge wrote; `d_lse.data` may
// be null.
REGARD_API void merge_attention_backward(std::span<const AttentionPart> parts, const View& merged_o,
                                         const View& d_o, const LseView& d_lse,
                                         std::span<const PartGradients> gradients);

}  // namespace regard
