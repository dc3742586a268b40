// s2, shifted sparse attention (Chen et al. 2023, LongLoRA, arXiv 2309.12307) without its leak:
// groups are cut by boundaries, nothing is rolled, so that no query ever sees a later key.
//
// With g = S/4, a query of the lower half of the heads sees its own group of 0, g, 2g, 3g, S; one
// of the upper half its own of 0, g/2, 3g/2, 5g/2, 7g/2, S (g/2 rounded down). Causal inside the
// group.
#pragma once

#include "regard/modules.h"

namespace regard::lowering {

// Chunks of a call; empty ones (dense attention) when `options.training` is false. Throws
// Error(invalid_argument) for an S that is no multiple of 4, an odd number of heads, Sq != Sk, or
// documents longer than S.
Chunks shifted_chunks(const View& q, const View& k, const AttentionOptions& options);

}  // namespace regard::lowering
