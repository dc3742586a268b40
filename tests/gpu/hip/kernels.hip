// Every kernel's text for AMD GPUs, header-free: that it compiles is the test.
#include "attn_append.cuh"
#include "attn_bwd_clear.cuh"
#include "attn_bwd_convert.cuh"
#include "attn_bwd_delta.cuh"
#include "attn_bwd_dq_mma.cuh"
#include "attn_bwd_mma.cuh"
#include "attn_bwd_simt_dkv.cuh"
#include "attn_bwd_simt_dq.cuh"
#include "attn_bwd_sink.cuh"
#include "attn_bwd_terms.cuh"
#include "attn_bwd_terms_end.cuh"
#include "attn_combine.cuh"
#include "attn_decode_mma.cuh"
#include "attn_fwd_mma.cuh"
#include "attn_fwd_simt.cuh"
#include "sage_fwd_mma.cuh"
#include "sage_mean.cuh"
#include "sage_quantize.cuh"

using namespace regard::gpu;

#define REGARD_KERNEL(stem, Params, name, ...)                               \
  extern "C" __global__ void stem##_##name(const Params params) {            \
    extern __attribute__((shared)) unsigned short shared_##stem##_##name[];  \
    stem<AttnConfig __VA_ARGS__>(params, shared_##stem##_##name);            \
  }

REGARD_KERNEL(attn_fwd_mma, AttnFwdParams, causal,
              {.head_dim = 64, .value_dim = 64, .block_q = 64, .block_k = 64, .has_limits = true})
REGARD_KERNEL(attn_fwd_mma, AttnFwdParams, softcap,
              {.element = Element::bf16, .head_dim = 128, .value_dim = 128, .block_q = 64,
               .block_k = 32, .has_softcap = true, .has_alibi = true, .is_packed = true})
REGARD_KERNEL(attn_decode_mma, AttnDecodeParams, paged,
              {.element = Element::bf16, .head_dim = 128, .value_dim = 128, .block_q = 16, .block_k = 64,
               .num_stages = 2, .has_sink = true, .is_paged = true})
REGARD_KERNEL(attn_combine, AttnDecodeParams, sink, {.value_dim = 128, .has_sink = true})
REGARD_KERNEL(attn_append, AttnAppendParams, packed, {.is_packed = true, .is_paged = true})
REGARD_KERNEL(attn_fwd_simt, AttnFwdParams, f32,
              {.element = Element::f32, .head_dim = 64, .value_dim = 64, .block_q = 64, .block_k = 32,
               .has_limits = true, .has_sink = true})
REGARD_KERNEL(sage_mean, SageParams, all, {.head_dim = 64, .value_dim = 64, .num_warps = 8})
REGARD_KERNEL(sage_quantize, SageParams, all, {.head_dim = 64, .value_dim = 64})
REGARD_KERNEL(sage_fwd_mma, SageParams, e4m3,
              {.values = ValueRounding::e4m3, .head_dim = 32, .value_dim = 64, .block_q = 64, .block_k = 64,
               .has_limits = true, .has_softcap = true})
REGARD_KERNEL(attn_bwd_clear, AttnBwdParams, plain, {.num_warps = 8})
REGARD_KERNEL(attn_bwd_delta, AttnBwdParams, plain, {.head_dim = 64, .value_dim = 64})
REGARD_KERNEL(attn_bwd_mma, AttnBwdParams, causal,
              {.head_dim = 64, .value_dim = 64, .block_q = 32, .block_k = 64, .slice_q = 32,
               .has_limits = true})
REGARD_KERNEL(attn_bwd_dq_mma, AttnBwdParams, dropout,
              {.element = Element::bf16, .head_dim = 64, .value_dim = 64, .block_q = 64,
               .block_k = 32, .has_dropout = true, .is_deterministic = true})
REGARD_KERNEL(attn_bwd_convert, AttnBwdParams, plain, {.head_dim = 64, .block_q = 32})
REGARD_KERNEL(attn_bwd_simt_dkv, AttnBwdParams, f32,
              {.element = Element::f32, .head_dim = 64, .value_dim = 64, .block_q = 32, .block_k = 64,
               .has_limits = true, .is_deterministic = true})
REGARD_KERNEL(attn_bwd_simt_dq, AttnBwdParams, f32,
              {.element = Element::f32, .head_dim = 64, .value_dim = 64, .block_q = 64, .block_k = 32,
               .has_dropout = true, .is_deterministic = true})
REGARD_KERNEL(attn_bwd_terms, AttnBwdParams, f32,
              {.element = Element::f32, .bias = BiasFormat::f32, .head_dim = 64, .value_dim = 64,
               .block_q = 64, .block_k = 32, .has_alibi = true, .is_deterministic = true})
REGARD_KERNEL(attn_bwd_terms_end, AttnBwdParams, plain, {.num_warps = 8})
REGARD_KERNEL(attn_bwd_sink, AttnBwdParams, plain, {.num_warps = 8})
