// The functions that users of the flash-attn package know, over View: FlashAttention 2 (dense,
// variable lengths, packed operands, key/value cache) with the extras of FlashAttention 3 and 4.
// Each lowers to one Problem (regard/problem.h) and runs it; names and meaning of the arguments are
// the package's. docs/modules/flash_attention.md lists the differences.
//
// All functions throw Error(invalid_argument) for arguments that contradict each other, before
// anything is written, and Error(unsupported) for what no back end serves.
#pragma once

#include <cstdint>

#include "regard/export.h"
#include "regard/problem.h"

namespace regard {

// What all functions share. Causal masks, windows and chunks are lower-right aligned: the last
// query sees the last key.
struct FlashOptions {
  float softmax_scale = 0.0f;  // 0 = 1/sqrt(D), with qv 1/sqrt(D + Dv)
  bool is_causal = false;
  Window window{};
  float softcap = 0.0f;  // excludes dropout
  Alibi alibi{};         // slopes [Hq], or [B, Hq], of packed rows [sequences, Hq]
  Dropout dropout{};
  // Accepted for its users' sake: results always are deterministic.
  bool is_deterministic = false;
  // How many parts the keys are cut into; accepted, not needed: decoding cuts them by itself, and
  // the result is the same.
  int num_splits = 0;
  int64_t attention_chunk = 0;  // FlashAttention 3: 0 = off
  Descale descale{};            // FlashAttention 3: factors of q, k, v, [sequences, Hkv]
  // FlashAttention 3 (weight-absorbed MLA): scores are q k^T + qv v^T; qv is [B, Sq, Hq, Dv] in the
  // dtype of q. Forward only. data == null = off.
  View qv{};
  Sink learnable_sink{};  // FlashAttention 4: one logit a query head
};

// Two or three operands in one tensor: [batch, seq, parts, heads, dim], last stride 1. Parts are
// (q, k, v) or (k, v).
struct PackedView {
  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t batch = 0, seq = 0, parts = 0, heads = 0, dim = 0;
  int64_t stride_batch = 0, stride_seq = 0, stride_part = 0, stride_head = 0;
};

// Part `index` of `packed`. Throws Error(invalid_argument) where there is none.
REGARD_API View part_of(const PackedView& packed, int64_t index);

// q [B,Sq,Hq,D], k [B,Sk,Hkv,D], v [B,Sk,Hkv,Dv] -> o [B,Sq,Hq,Dv], LSE [B,Hq,Sq] where asked.
REGARD_API void flash_attn_func(const View& q, const View& k, const View& v,
                                const FlashOptions& options, const ForwardOutputs& outputs);
// Gradients of q, k, v (and sink, slopes where their pointers are set) for the same arguments.
// Slopes [B, Hq] have gradients [B, Hq].
REGARD_API void flash_attn_backward(const View& q, const View& k, const View& v,
                                    const FlashOptions& options, const BackwardTensors& tensors);

// qkv [B,S,3,H,D].
REGARD_API void flash_attn_qkvpacked_func(const PackedView& qkv, const FlashOptions& options,
                                          const ForwardOutputs& outputs);
// FlashAttention 3's num_heads_q: qkv [B, S, Hq + 2 Hkv, D].
REGARD_API void flash_attn_qkvpacked_func(const View& qkv, int64_t num_heads_q,
                                          const FlashOptions& options,
                                          const ForwardOutputs& outputs);
// Writes the gradient of qkv; dq, dk, dv of `tensors` are not used.
REGARD_API void flash_attn_qkvpacked_backward(const PackedView& qkv, const FlashOptions& options,
                                              const BackwardTensors& tensors,
                                              const PackedView& dqkv);

// q [B,Sq,Hq,D], kv [B,Sk,2,Hkv,D].
REGARD_API void flash_attn_kvpacked_func(const View& q, const PackedView& kv,
                                         const FlashOptions& options,
                                         const ForwardOutputs& outputs);
// Writes tensors.dq and the gradient of kv; dk, dv of `tensors` are not used.
REGARD_API void flash_attn_kvpacked_backward(const View& q, const PackedView& kv,
                                             const FlashOptions& options,
                                             const BackwardTensors& tensors, const PackedView& dkv);

// Sequences one behind the other: sequence i owns rows cu_seqlens[i] .. cu_seqlens[i + 1].
struct VarlenSequences {
  int32_t count = 0;
  const int32_t* cu_seqlens_q = nullptr;  // count + 1 entries, not decreasing, from 0
  const int32_t* cu_seqlens_k = nullptr;
  // Longest sequences, as the package asks for; here they are checked. 0 = not stated.
  int64_t max_seqlen_q = 0, max_seqlen_k = 0;
  // FlashAttention 3: rows of each sequence that count, from its first; null = all. O of the other
  // queries is 0, their LSE -inf.
  const int32_t* seqused_q = nullptr;
  const int32_t* seqused_k = nullptr;
  const int32_t* leftpad_k = nullptr;  // rows before the first key; null = none
  // Keys in pages, forward only: k and v are [pages, page_size, Hkv, D], row r of sequence i lies
  // in page block_table[i * block_table_stride + r / page_size]; lengths are still those above.
  const int32_t* block_table = nullptr;
  int64_t block_table_stride = 0;
};

// q [1, total_q, Hq, D], k and v [1, total_k, Hkv, .] or pages.
REGARD_API void flash_attn_varlen_func(const View& q, const View& k, const View& v,
                                       const VarlenSequences& sequences,
                                       const FlashOptions& options, const ForwardOutputs& outputs);
REGARD_API void flash_attn_varlen_backward(const View& q, const View& k, const View& v,
                                           const VarlenSequences& sequences,
                                           const FlashOptions& options,
                                           const BackwardTensors& tensors);

// qkv [1, total, 3, H, D]: both sides have the sequences of cu_seqlens_q.
REGARD_API void flash_attn_varlen_qkvpacked_func(const PackedView& qkv,
                                                 const VarlenSequences& sequences,
                                                 const FlashOptions& options,
                                                 const ForwardOutputs& outputs);
REGARD_API void flash_attn_varlen_qkvpacked_backward(const PackedView& qkv,
                                                     const VarlenSequences& sequences,
                                                     const FlashOptions& options,
                                                     const BackwardTensors& tensors,
                                                     const PackedView& dqkv);
// q [1, total_q, Hq, D], kv [1, total_k, 2, Hkv, D].
REGARD_API void flash_attn_varlen_kvpacked_func(const View& q, const PackedView& kv,
                                                const VarlenSequences& sequences,
                                                const FlashOptions& options,
                                                const ForwardOutputs& outputs);
REGARD_API void flash_attn_varlen_kvpacked_backward(const View& q, const PackedView& kv,
                                                    const VarlenSequences& sequences,
                                                    const FlashOptions& options,
                                                    const BackwardTensors& tensors,
                                                    const PackedView& dkv);

// Rotary position embedding of the first `dim` channels of a head: x becomes x cos + rotated(x)
// sin, rotated in pairs (2i, 2i + 1) where interleaved (GPT-J), else (i, i + dim / 2) (GPT-NeoX).
struct RotaryTable {
  const void* cos = nullptr;  // [positions, dim / 2], contiguous; null = off
  const void* sin = nullptr;
  DType dtype = DType::f32;
  int64_t positions = 0;
  int64_t dim = 0;  // even, at most D
  bool is_interleaved = true;
  // FlashAttention 3's rotary_seqlens: position of the first new token of each sequence; null = its
  // cache_seqlens.
  const int32_t* offsets = nullptr;
};

// The arguments of flash_attn_with_kvcache besides q.
struct KvCacheArguments {
  // [B, capacity, Hkv, D] and Dv, or with block_table [pages, page_size, Hkv, D] and Dv; the new
  // keys and values are written into them.
  View k_cache{}, v_cache{};
  View k{}, v{};  // new keys and values [B, Snew, Hkv, .], data == null = none
  // Tokens in the cache before the new ones, left padding included; null = the whole capacity (then
  // nothing can be appended).
  const int32_t* cache_seqlens = nullptr;
  const int32_t* cache_batch_idx = nullptr;  // row of the cache of each sequence; null = 0, 1, ...
  const int32_t* cache_leftpad = nullptr;    // rows before the first key; null = none
  const int32_t* block_table = nullptr;      // [B, block_table_stride]
  int64_t block_table_stride = 0;
  RotaryTable rotary{};
  // FlashAttention 3: q (and k, v) of unequal lengths, [1, total, heads, .]. `count` sequences,
  // then; cu_seqlens_k_new may be null where nothing is appended.
  int32_t count = 0;
  const int32_t* cu_seqlens_q = nullptr;
  const int32_t* cu_seqlens_k_new = nullptr;
};

// Appends k and v (rotated) behind the cache, rotates q, and attends over the cache. New token i of
// a sequence has the position cache_seqlens + i; queries have positions of their own where the mask
// is causal or a window, else all that of the first new token. Forward only, as in the package.
REGARD_API void flash_attn_with_kvcache(const View& q, const KvCacheArguments& cache,
                                        const FlashOptions& options, const ForwardOutputs& outputs);

// What the parts of a split computation wrote, f32, f16 or bf16: out_partial [B, S, splits, H, D]
// in any strides (the package's [splits, B, S, H, D] is stride_part), and the LSE of split i at
// lse.data
// + i * stride_split.
struct SplitLse {
  LseView lse{};
  int64_t stride_split = 0;
};

// FlashAttention 3's combine step under its name: merge_attention (regard/merge_attention.h) over
// the splits, one or more. outputs.o is out, in any dtype but f8 (out_dtype); outputs.lse may be
// null.
REGARD_API void flash_attn_combine(const PackedView& out_partial, const SplitLse& lse_partial,
                                   const ForwardOutputs& outputs);

}  // namespace regard
