// sage_bwd_cpu: the backward of quantised attention for CPUs.
// Math     straight through the quantisation: P = exp(S - LSE) from the quantised scores, then the
//          products of the exact backward over q^, k'^ and v^ (reference/quantize.h).
//            dQ = scale * (dS k'^ + rowsum(dS) mean)   dK = scale * dS^T q^   dV = P^T dO
//          k'^ and not k^ = k'^ + mean: rows of dS sum to dLSE only up to rounding, and a channel
//          bias in K would turn that rounding into dQ. Where rowsum(dS) is not zero in theory
//          (dLSE, softcap) it is one more channel, whose q~ is q . mean and whose k~ is 1.
//          With int8_backward P, dS and the dO that P multiplies go through int8 first
//          (sage_int8_tiles-inl.h); rowsum(dS) is that of dS itself.
// Memory   f32 copies of q^, k'^, v^, and with int8_backward of dO^, for the whole call, exact
//          because scales have 16 significant bits; the tiled exact kernel (attn_bwd_cpu) does the
//          rest.
// Numerics LSE - scale * q . mean comes from the stored f32 LSE: |scale * q . mean| * 2^-24 of
//          relative error in the weights.
// Limits   see why_unsupported_sage().
// Source   Zhang et al. 2025 (arXiv 2505.11594).
#pragma once

#include "regard/problem.h"

namespace regard::cpu {

// Quantises on the way, as the forward did. Throws Error(out_of_memory).
void sage_bwd_cpu(const Problem& problem, const BackwardTensors& tensors, int num_threads);

}  // namespace regard::cpu
