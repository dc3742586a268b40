// The functions that users of the sageattention package know, over View, with the backward that the
// package does not have. docs/modules/sage.md says what is computed and what differs.
//
// All functions throw Error(invalid_argument) for arguments that contradict each other and
// Error(unsupported) for what no back end serves, before anything is written. Nothing is accepted
// and ignored.
#pragma once

#include "regard/export.h"
#include "regard/problem.h"

namespace regard {

struct SageOptions {
  // Lower-right aligned: the last query sees the last key, also where Sq != Sk.
  bool is_causal = false;
  float sm_scale = 0.0f;  // 0 = 1/sqrt(D)
  // qk_quant_gran of the package. Smaller groups are closer to exact attention; on a CPU all take
  // the same time.
  ScaleGroups qk_quant_gran = ScaleGroups::per_thread;
  // P and V: f16 (the package's default), f8_e4m3 (its FP8 kernels), or exact.
  ValueFormat pv_format = ValueFormat::f16;
  // Takes the mean of K over each sequence out of K before it becomes int8. Without it a channel
  // bias of K uses up the range of the scale.
  bool smooth_k = true;
  // SageBwd (arXiv 2505.11594): dO, P and dS become int8 too before they are multiplied, with one
  // scale for 128 queries (dO) and for 128 queries by 64 keys (P, dS); dO V^T takes dO as it is.
  // The forward is the same. Off by default: gradients are coarser, and on a CPU, where products of
  // the backward are f32 either way, it takes a second pass. What it is for is to train here as
  // kernels with int8 products do.
  bool int8_backward = false;
};

// q [B,Sq,Hq,D], k [B,Sk,Hkv,D], v [B,Sk,Hkv,Dv] -> o [B,Sq,Hq,Dv], LSE [B,Hq,Sq] where outputs.lse
// is set (return_lse). Hq % Hkv == 0; D, Dv <= 256; f32, f16 or bf16. The package's tensor_layout
// is in the strides: "HND" is [B, H, S, D], "NHD" [B, S, H, D].
REGARD_API void sageattn(const View& q, const View& k, const View& v, const SageOptions& options,
                         const ForwardOutputs& outputs);
// Gradients of q, k and v (and through the LSE, tensors.d_lse) for the same arguments: straight
// through the quantisation, with options.int8_backward from int8 products.
REGARD_API void sageattn_backward(const View& q, const View& k, const View& v,
                                  const SageOptions& options, const BackwardTensors& tensors);

// Packed sequences: q [1, total_q, Hq, D], k and v [1, total_k, Hkv, .]; documents.q_offsets and
// k_offsets are cu_seqlens_q and cu_seqlens_k, documents.count the number of sequences (at least
// one). Each sequence has a mean of its own.
REGARD_API void sageattn_varlen(const View& q, const View& k, const View& v,
                                const Documents& documents, const SageOptions& options,
                                const ForwardOutputs& outputs);
REGARD_API void sageattn_varlen_backward(const View& q, const View& k, const View& v,
                                         const Documents& documents, const SageOptions& options,
                                         const BackwardTensors& tensors);

}  // namespace regard
