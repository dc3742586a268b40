/* The C interface of libregard: one struct in, an error code out. No C++ type, no exception and no
 * allocation crosses it, so that one library file serves every language and every compiler. */
#ifndef REGARD_REGARD_H_
#define REGARD_REGARD_H_

#include <stddef.h>
#include <stdint.h>

#include "regard/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a call returns; regard_last_error() tells the rest. */
enum {
  REGARD_OK = 0,
  REGARD_INVALID_ARGUMENT = 1, /* shapes, strides, pointers or options contradict each other */
  REGARD_UNSUPPORTED = 2,      /* valid, but the named module cannot serve it here */
  REGARD_OUT_OF_MEMORY = 3,
  REGARD_INTERNAL = 4
};

enum { REGARD_F32 = 0, REGARD_F16 = 1, REGARD_BF16 = 2 };

/* [batch, sequence, heads, dim], strides counted in elements; strides[3] must be 1. Both usual
 * layouts are this tensor with other strides. A tensor that is not used has data == NULL. */
typedef struct regard_tensor {
  void* data;
  int32_t dtype; /* REGARD_F32, ... */
  int32_t reserved;
  int64_t shape[4];
  int64_t strides[4];
} regard_tensor;

/* Log-sum-exp or its gradient, f32 [batch, heads, sequence]; the last stride is 1. */
typedef struct regard_lse {
  float* data;
  int64_t stride_batch, stride_head;
} regard_lse;

/* Scores' companion [batch, heads, Sq, Sk], broadcast through zero strides: a mask (dtype ignored,
 * one byte an element, non-zero = may attend) or an additive bias. */
typedef struct regard_score_tensor {
  const void* data;
  int32_t dtype;
  int32_t reserved;
  int64_t strides[4];
} regard_score_tensor;

/* One attention call. Fill it with regard_attention_args_init, then set what differs from the
 * defaults. Memory stays the caller's; nothing is kept after the call. */
typedef struct regard_attention_args {
  size_t struct_size; /* sizeof(regard_attention_args), set by the init function */
  const char* module; /* "sdpa" (default), "flash_attention_2", "eager" */

  regard_tensor q, k, v; /* [B, Sq, Hq, D], [B, Sk, Hkv, D], [B, Sk, Hkv, Dv], one dtype */
  regard_tensor o;       /* [B, Sq, Hq, Dv]: written by forward, read by backward */
  regard_lse lse;        /* written by forward where not NULL; backward needs it */

  regard_tensor d_o;        /* backward: gradient of o, read */
  regard_lse d_lse;         /* backward: gradient through lse, read; may be NULL */
  regard_tensor dq, dk, dv; /* backward: written; any dtype */

  int32_t is_causal; /* default 1; sdpa and eager align upper-left, flash lower-right */
  float scale;       /* default 0 = 1/sqrt(D) */
  int64_t window[2]; /* left, right: keys besides the query's own; default -1, -1 = no bound */
  const int32_t* document_q_offsets; /* packed rows: num_documents + 1 offsets each */
  const int32_t* document_k_offsets;
  int32_t num_documents; /* default 0: not packed */
  float softcap;         /* default 0 = off */
  regard_score_tensor mask, bias;
  const float* alibi_slopes;  /* [Hq] or [B, Hq] */
  int64_t alibi_stride_batch; /* 0 or Hq */
  float dropout_probability;  /* default 0 */
  int32_t reserved;
  uint64_t dropout_seed;
} regard_attention_args;

/* Sets struct_size and every default; does nothing for NULL. */
REGARD_API void regard_attention_args_init(regard_attention_args* args);

/* o and lse from q, k, v. Thread-safe; the same inputs give the same bits at every thread count. */
REGARD_API int regard_attention_forward(const regard_attention_args* args);

/* dq, dk, dv from q, k, v, o, lse, d_o (and d_lse). */
REGARD_API int regard_attention_backward(const regard_attention_args* args);

/* Why the last call of this thread failed; "" after a success. Valid until the thread's next call.
 */
REGARD_API const char* regard_last_error(void);

/* "0.1.0" */
REGARD_API const char* regard_version(void);

/* Threads a call may use; 0 restores the default. */
REGARD_API int regard_set_num_threads(int num_threads);

#ifdef __cplusplus
}
#endif

#endif /* REGARD_REGARD_H_ */
