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

/* REGARD_F8_E4M3 (largest 448, no infinity) is a dtype of q, k and v alone: o is then one of the
 * others, and there is no backward. */
enum { REGARD_F32 = 0, REGARD_F16 = 1, REGARD_BF16 = 2, REGARD_F8_E4M3 = 3 };

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

/* Keys in pages, forward only: k and v are [pages, page_size, Hkv, D], key j of sequence i
 * (document, or batch row) lies in page table[i * stride + r / page_size] at row r % page_size,
 * where r = starts[i] + j. Documents then have document_q_offsets alone. Not used where table ==
 * NULL. */
typedef struct regard_pages {
  const int32_t* table;
  int64_t stride;         /* table entries a sequence */
  const int32_t* lengths; /* [sequences]: keys of each, without the rows before its start */
  const int32_t* starts;  /* [sequences], or NULL: from the first row of the first page */
} regard_pages;

/* Factors of q, k, v [sequences, Hkv] after their conversion to f32; NULL = 1. The module
 * "flash_attention_3" only. */
typedef struct regard_descale {
  const float *q, *k, *v;
  int64_t stride_batch; /* Hkv, or 0: one row for all sequences */
} regard_descale;

/* What a program reads by name: f32 or int32 elements, strides counted in elements. */
typedef struct regard_program_tensor {
  const char* name;
  const void* data;
  int32_t is_integer;
  int32_t rank; /* 1 to 4 */
  int64_t shape[4], strides[4];
} regard_program_tensor;

/* A score or mask program in the language of docs/modules/flex_attention.md, such as
 * "score + slopes[h] * (kv - q)"; compiled at every call, in microseconds. The module
 * "flex_attention" only. Not used where text == NULL; a tensor that the text does not name is not
 * read. */
typedef struct regard_program {
  const char* text;
  const regard_program_tensor* tensors;
  int32_t num_tensors;
  int32_t reserved;
} regard_program;

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

  /* The second version ends here. */
  const uint8_t* block_is_full; /* parallel to block_mask.columns, or NULL: not 0 promises that the
                                   mask program sees every pair of the block */
  regard_pages pages;
  regard_descale descale;
  regard_program score_program, mask_program;
  int64_t first_query; /* default 0: where query 0 of a sequence stands for the programs */
  float* const* d_score_tensors; /* backward, or NULL: score_program.num_tensors pointers, gradients
                                    of its f32 tensors, contiguous in their shapes; NULL = none */
  int64_t s2_row_length;         /* s2: the row length that is cut; default 0 = Sq */
  int32_t is_training;           /* s2: 0 = dense attention, for inference; default 1 */
  int32_t reserved_2;
} regard_attention_args;

/* Sets struct_size and every default; does nothing for NULL. */
REGARD_API void regard_attention_args_init(regard_attention_args* args);

/* o and lse from q, k, v. Thread-safe; the same inputs give the same bits at every thread count. */
REGARD_API int regard_attention_forward(const regard_attention_args* args);

/* dq, dk, dv, and the optional gradients, from q, k, v, o, lse, d_o (and d_lse). */
REGARD_API int regard_attention_backward(const regard_attention_args* args);

/* What one forward wrote over some of the keys, or the gradients of that. */
typedef struct regard_attention_part {
  regard_tensor o; /* [B, Sq, Hq, Dv], no f8 */
  regard_lse lse;  /* [B, Hq, Sq] */
} regard_attention_part;

/* Joins parts that saw different keys of the same queries, exactly: LSE = log sum_i exp(LSE_i),
 * O = sum_i exp(LSE_i - LSE) O_i. A part with LSE_i = -inf adds nothing; with a sink, give it to
 * one part. merged.o may be the memory of a part; merged.lse.data may be NULL. */
REGARD_API int regard_merge_attention(const regard_attention_part* parts, int32_t num_parts,
                                      const regard_attention_part* merged);

/* gradients[i] (o: of O_i, any dtype but f8; lse: of LSE_i) is written for each part: what its
 * backward reads as d_o and d_lse. `merged` is what the merge wrote (its lse is not read);
 * d_merged.o is the gradient of O, d_merged.lse that of LSE, whose data may be NULL. */
REGARD_API int regard_merge_attention_backward(const regard_attention_part* parts,
                                               int32_t num_parts,
                                               const regard_attention_part* merged,
                                               const regard_attention_part* d_merged,
                                               const regard_attention_part* gradients);

/* Why the last call of this thread failed; "" after a success. Valid until the thread's next call.
 */
REGARD_API const char* regard_last_error(void);

/* "0.1.0" */
REGARD_API const char* regard_version(void);

/* Threads a call may use; 0 restores the default. */
REGARD_API int regard_set_num_threads(int num_threads);

/* The stream (cudaStream_t) on which this thread's calls enqueue their work where q lies in GPU
 * memory; they return before it is done. NULL, the default, is the legacy default stream. */
REGARD_API int regard_set_cuda_stream(void* stream);

#ifdef __cplusplus
}
#endif

#endif /* REGARD_REGARD_H_ */
