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

/* Gradient of a bias, f32; strides are 0 exactly where the bias has stride 0. */
typedef struct regard_bias_gradient {
  float* data;
  int64_t strides[4];
} regard_bias_gradient;

/* Block row r of mask m lists its visible blocks, ascending, in columns[row_offsets[m * num_rows +
 * r] .. row_offsets[m * num_rows + r + 1]]; strides count masks. Not used where row_offsets ==
 * NULL. */
typedef struct regard_block_mask {
  const int32_t* row_offsets;
  const int32_t* columns;
  int32_t block_q, block_k; /* queries and keys of a block */
  int64_t num_rows;         /* ceil(Sq / block_q) */
  int64_t stride_batch, stride_head;
} regard_block_mask;

/* regard_quantization.scores, .groups, .values: as ScoreFormat, ScaleGroups and ValueFormat of
 * regard/problem.h. */
enum { REGARD_SCORES_EXACT = 0, REGARD_SCORES_INT8 = 1 };
enum { REGARD_GROUPS_PER_BLOCK = 0, REGARD_GROUPS_PER_WARP = 1, REGARD_GROUPS_PER_THREAD = 2 };
enum { REGARD_VALUES_EXACT = 0, REGARD_VALUES_F16 = 1, REGARD_VALUES_F8_E4M3 = 2 };

/* How scores are computed; the module "sage" only, which takes its own defaults where scores are
 * exact. */
typedef struct regard_quantization {
  int32_t scores, groups, values;
  int32_t smooth_k;
  int32_t int8_backward;
  int32_t reserved;
} regard_quantization;

/* One attention call. Fill it with regard_attention_args_init, then set what differs from the
 * defaults. Memory stays the caller's; nothing is kept after the call. */
typedef struct regard_attention_args {
  size_t struct_size; /* sizeof(regard_attention_args), set by the init function */
  const char* module; /* a name of docs/modules: "sdpa" (default), "flash_attention_2", ... */

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

  /* The struct of the first version ends here; a caller that knows no more has it shorter, and the
   * defaults below. */
  const int32_t* document_q_lengths; /* with them document i owns that many rows from its offset; */
  const int32_t* document_k_lengths; /* rows in between belong to no document */
  const float* sink;                 /* [Hq]: one learnable logit a query head */
  int64_t chunk_size;                /* default 0 = off; flash_attention_3's attention_chunk */
  regard_block_mask block_mask;
  regard_quantization quantization;
  regard_bias_gradient d_bias; /* backward: written where not NULL */
  float* d_alibi_slopes;       /* backward: written where not NULL, shape of alibi_slopes */
  float* d_sink;               /* backward: written where not NULL, [Hq] */
} regard_attention_args;

/* Sets struct_size and every default; does nothing for NULL. */
REGARD_API void regard_attention_args_init(regard_attention_args* args);

/* o and lse from q, k, v. Thread-safe; the same inputs give the same bits at every thread count. */
REGARD_API int regard_attention_forward(const regard_attention_args* args);

/* dq, dk, dv, and the optional gradients, from q, k, v, o, lse, d_o (and d_lse). */
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
