// What a launch passes to the kernels. Freestanding, and laid out alike by the host's compiler and
// by the GPU's.
#pragma once

#include "attn_config.h"

namespace regard::gpu {

// Element (b, s, h, d) lies at data + b*stride_batch + s*stride_seq + h*stride_head + d, counted in
// elements of 16 bits, or of 32 where the config's element is f32.
struct OperandView {
  const unsigned short* data;
  long long stride_batch, stride_seq, stride_head;
};
struct ResultView {
  unsigned short* data;
  long long stride_batch, stride_seq, stride_head;
};

// [B, Hq, Sq, Sk], broadcast through zero strides, in elements.
struct PairTensorView {
  const void* data;
  long long stride_batch, stride_head, stride_q, stride_k;
};

// [B, Hq, Sq], f32.
struct LsePointer {
  float* data;
  long long stride_batch, stride_head;
};

// What a program reads: f32 or i32, strides in elements; up to four axes.
struct ProgramTensorView {
  const void* data;
  int shape[4], stride[4];
};
inline constexpr int kMaxProgramTensors = 16;

// Lengths and window bounds fit in 29 bits, so that sums of three of them fit in an int.
inline constexpr int kUnbounded = 1 << 29;

// A Problem (regard/problem.h) on the device. What a config does not have is not read.
struct ProblemParams {
  OperandView q, k, v;      // [B, Sq, Hq, D], [B, Sk, Hkv, D], [B, Sk, Hkv, Dv]
  int q_len, k_len;         // Sq, Sk; of packed rows the documents' own count; of pages their size
  int head_dim, value_dim;  // D, Dv as the caller has them
  int num_heads;            // Hq
  int heads_per_kv_head;
  int num_sequences;  // documents, or batch rows
  // is_packed: [documents + 1]; has_lengths: [documents], either may be null.
  const int *q_offsets, *k_offsets, *q_lengths, *k_lengths;
  // Scores.
  float scale;         // of the raw q . k
  float score_factor;  // the same towards exp2: scale * log2(e), with a softcap scale / softcap
  float softcap;
  float softcap_log2;  // softcap * log2(e)
  // |q . k| to which tanh of the cap is a polynomial (0: never), and that polynomial: the capped
  // score * log2(e) is q . k times the sum of small_cap[i] (q . k)^2i.
  float small_product, small_cap[6];
  const float* slopes;  // has_alibi: [Hq] or [B, Hq]
  long long slopes_stride_batch;
  const float* sink;  // has_sink: [Hq]
  // has_limits.
  int left, right;    // keys beside the query's own; kUnbounded = all. Causal: right = 0
  int is_upper_left;  // where query 0 and key 0 are aligned, instead of the last ones
  // has_chunks: cuts at chunk_size, 2 * chunk_size, ...; heads from first_shifted_head on have them
  // at chunk_shift, chunk_shift + chunk_size, ...
  int chunk_size, chunk_shift, first_shifted_head;
  PairTensorView mask;  // has_mask: bytes
  PairTensorView bias;
  // has_dropout.
  unsigned long long dropout_seed;
  unsigned dropout_threshold;  // a weight is dropped where its word is below
  float dropout_scale;
  // has_block_mask: as BlockMaskView.
  const int *block_row_offsets, *block_columns;
  const unsigned char* block_is_full;
  int block_mask_q, block_mask_k;
  long long block_mask_rows, block_mask_stride_batch, block_mask_stride_head;
  // is_paged: as Pages; k_lengths then count the keys of each sequence.
  const int* page_table;
  long long page_stride;
  const int* page_starts;  // may be null
  // Programs.
  int first_query;
  ProgramTensorView score_tensors[kMaxProgramTensors];
  ProgramTensorView mask_tensors[kMaxProgramTensors];
};

struct AttnFwdParams : ProblemParams {
  ResultView o;    // [B, Sq, Hq, Dv]
  LsePointer lse;  // natural logarithm; data may be null
};

// Of attn_decode_mma and attn_combine. Output row (b, s, h) has the number (b * Sq + s) * Hq + h.
struct AttnDecodeParams : ProblemParams {
  ResultView o;    // [B, Sq, Hq, Dv]
  LsePointer lse;  // natural logarithm; data may be null
  int num_splits;  // parts that the keys of a sequence are cut into; the fields below: where > 1
  long long num_rows;                // B * Sq * Hq
  float* partial_out;                // [num_splits, num_rows, value_dim of the config]
  float *partial_max, *partial_sum;  // [num_splits, num_rows]; of exponents of 2
};

// Of sage_mean, sage_quantize and sage_fwd_mma. For the first two q, k and v are the given
// operands; for the last they are their quantised copies, Q and K in int8, counted in pairs of
// elements. Sequence i has query blocks of 32 from first_query_block(i) on, key blocks of 64
// likewise (sage_operands.cuh).
struct SageParams : AttnFwdParams {
  ResultView q_int8, k_int8;   // [B, Hq, Sq, D], [B, Hkv, Sk, D] in pairs; D ends in zeros
  ResultView v_rounded;        // [B, Hkv, Sk, Dv] in 16 bits; data null: V is taken as it is
  float *q_scales, *k_scales;  // [Hq, query blocks, 8], [Hkv, key blocks, 4]
  float* mean;                 // of K, [sequences, Hkv, D]; null: K keeps its mean
  float* value_scales;         // [sequences, Hkv, Dv]; null: values have none
  float* shifts;               // q . mean, [B, Hq, Sq]; null where mean is
  long long num_query_blocks, num_key_blocks;
  int query_group_rows;  // per_thread: 0; per_warp: 32; per_block: 128
};

// Of attn_append. The problem is the one after it: is_paged, its k and v the cache, its q not yet
// rotated.
struct AttnAppendParams : ProblemParams {
  ResultView k_cache, v_cache;  // k and v of the problem, to be written
  OperandView new_k, new_v;     // [B, Snew, Hkv, D], [B, Snew, Hkv, Dv]
  int new_len;                  // Snew
  const int* new_offsets;       // is_packed: [documents + 1]
  const int* old_lengths;       // [sequences]: rows in the cache before the new ones
  ResultView rotated_q;         // [B, Sq, Hq, D]; not read where the grid leaves queries out
  int query_step;               // 1: query i has position i behind the first; 0: all have the first
  const int* first_positions;   // [sequences] of the first new token; null: old_lengths
  const void *cos, *sin;        // [positions, rotary_dim / 2]; null: nothing is rotated
  BiasFormat table_format;
  int rotary_dim;
  int is_interleaved;  // pairs (2i, 2i + 1) instead of (i, i + rotary_dim / 2)
};

// A gradient of any dtype; strides in its own elements.
enum class GradientFormat : int { f32, f16, bf16 };
struct GradientView {
  void* data;
  long long stride_batch, stride_seq, stride_head;
  GradientFormat format;
  // Whether one store reaches two neighbours, the first in an even column, and 16 bytes, the first
  // of them in a column that is a multiple of 8.
  int is_paired, is_whole;
};

// Gradients of what scores are made of besides q . k (attn_bwd_terms): term 0 is the bias, term 1
// the slopes, 2 + i is tensor i of the score program.
inline constexpr int kBiasTerm = 0, kSlopesTerm = 1, kFirstTensorTerm = 2;
inline constexpr int kNumTerms = kFirstTensorTerm + kMaxProgramTensors;
struct GradientTerms {
  float* results[kNumTerms];  // f32, null where not asked for; the bias' has strides
  long long bias_stride[4];   // batch, head, query, key; 0: summed over that axis
  long long bias_extent[4];   // 1 where summed
  int owns_bias;              // one pair for each element, which is written at once
  int slopes_of_batch;        // slopes [B, Hq], else [Hq]
  float* d_sink;              // [Hq]
  // The workspace: sums as integers, contiguous, and what their unit follows from.
  unsigned long long* sums;
  long long first_sum[kNumTerms + 1];
  unsigned* largest;        // bits of the largest magnitude that is added to a term
  int sum_bits[kNumTerms];  // so large may it become: 2^62 / number of summands
};

struct AttnBwdParams : ProblemParams {
  OperandView o, d_o;                           // [B, Sq, Hq, Dv]
  LsePointer lse, d_lse;                        // natural logarithm; d_lse.data may be null
  GradientView dq, dk, dv;                      // as q, k, v
  float inverse_scale;                          // 1 / scale
  int heads_per_section, kv_heads_per_section;  // tile/order.cuh
  // The workspace, in row groups of kRowGroup queries (workspace_row in tile/gradient.cuh): so many
  // a head, and of these for each sequence.
  long long num_row_groups, sequence_row_groups;
  float* row_lse;    // LSE * log2(e), +infinity for rows that see nothing and beyond the last query
  float* row_delta;  // -(dO . O - dLSE), 0 there
  float* dq_sum;     // unless is_deterministic: dQ / scale, fragment after fragment
  GradientTerms terms;
  int pass;  // of a kernel that runs several times
};

}  // namespace regard::gpu
