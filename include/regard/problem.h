// Problem: one attention computation, described by value. Every module of the table in docs/modules
// lowers to it and every back end reads it. Freestanding: no STL containers, so that device code
// can include it too.
//
// Glossary  B batch, Hq/Hkv query and key/value heads (Hq % Hkv == 0), Sq/Sk lengths, D head size
// of Q and K, Dv of V.
#pragma once

#include <cstdint>
#include <limits>

namespace regard {

// f8_e4m3 (4 exponent bits, 3 mantissa bits, largest 448, no infinity) is a dtype of q, k and v
// only; O is then f16, bf16 or f32 and there is no backward.
enum class DType : uint8_t { f32, f16, bf16, f8_e4m3 };

// One operand, logical order [batch, sequence, head, dim]; element (b, s, h, d) lies at
// data + b*stride_batch + s*stride_seq + h*stride_head + d, counted in elements; the last stride is
// always 1. Both usual layouts, [B,S,H,D] and [B,H,S,D], are this view with other strides.
struct View {
  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t batch = 0, seq = 0, heads = 0, dim = 0;
  int64_t stride_batch = 0, stride_seq = 0, stride_head = 0;
};

// Where the diagonal of a causal mask lies when Sq != Sk. Never guessed: upper_left lets query i
// see keys j <= i (PyTorch SDPA), lower_right lets it see j <= i + Sk - Sq (FlashAttention >= 2.1).
enum class Causal : uint8_t { none, upper_left, lower_right };

// Sliding window: query at (aligned) position p sees keys p-left .. p+right besides its own; -1 =
// unbounded. The alignment is that of `Causal`; with Causal::none it is lower_right, as in
// FlashAttention.
struct Window {
  int64_t left = -1, right = -1;
};

// Cuts every sequence into chunks of `size` positions (lower-right aligned): a query sees keys of
// its own chunk only. From query head `first_shifted_head` on, the cuts lie `shift` later, so that
// the first chunk is `shift` long: 0, shift, shift + size, ... size 0 = off. This is
// FlashAttention-3's attention_chunk and, with size S/4 and shift S/8, LongLoRA's shifted sparse
// attention.
struct Chunks {
  int64_t size = 0;
  int64_t shift = 0;
  int64_t first_shifted_head = std::numeric_limits<int64_t>::max();
};

// Packed rows: batch must be 1 and `seq` counts all tokens. Document i owns queries
// q_offsets[i]..q_offsets[i+1] and keys k_offsets[i]..k_offsets[i+1]; documents never see each
// other; alignment, window and chunks count inside a document. Offsets are non-decreasing, start at
// 0 and end at Sq / Sk. count == 0 means: not packed.
//
// With `k_lengths`, document i owns the k_lengths[i] keys from k_offsets[i] (then `count` starts,
// in any order, and keys may belong to no document, whose gradients are zero, or in a forward to
// several). `q_lengths` likewise, but queries of two documents never overlap; O of a query without
// a document is 0, its LSE -inf.
struct Documents {
  const int32_t* q_offsets = nullptr;
  const int32_t* k_offsets = nullptr;
  int32_t count = 0;
  const int32_t* q_lengths = nullptr;
  const int32_t* k_lengths = nullptr;
};

// Keys and values in pages, forward only: k and v are [pages, page_size, Hkv, D], and key j of
// sequence i (document, or batch row) lies in page table[i * stride + r / page_size] at row
// r % page_size, where r = starts[i] + j (r = j without `starts`): rows before it are left padding,
// which counts nowhere. `lengths` [sequences] counts the keys of each, padding not included.
// table == nullptr = not paged. Documents then have q_offsets only.
struct Pages {
  const int32_t* table = nullptr;
  int64_t stride = 0;
  const int32_t* lengths = nullptr;
  const int32_t* starts = nullptr;
};

// Blocks of block_q queries by block_k keys, counted over the whole row. Block row r of mask m (one
// for each batch and head, broadcast through zero strides) lists its visible key blocks, ascending,
// in columns[row_offsets[m * num_rows + r] .. row_offsets[m * num_rows + r + 1]]; what is not
// listed is masked. is_full (parallel to columns) promises that the mask program sees every pair of
// the block: it need not be asked. num_rows = ceil(Sq / block_q). row_offsets == nullptr = off.
struct BlockMaskView {
  const int32_t* row_offsets = nullptr;
  const int32_t* columns = nullptr;
  const uint8_t* is_full = nullptr;
  int32_t block_q = 0, block_k = 0;
  int64_t num_rows = 0;
  int64_t stride_batch = 0, stride_head = 0;  // counted in masks
};

// Boolean mask (1 byte, non-zero = may attend) or additive bias [B, Hq, Sq, Sk]; broadcast through
// zero strides.
struct MaskTensor {
  const uint8_t* data = nullptr;
  int64_t stride_batch = 0, stride_head = 0, stride_q = 0, stride_k = 0;
};
struct BiasTensor {
  const void* data = nullptr;
  DType dtype = DType::f32;
  int64_t stride_batch = 0, stride_head = 0, stride_q = 0, stride_k = 0;
};

// score += -slope[h] * |query position - key position| (lower-right aligned); slopes [Hq] or [B,Hq]
// (stride_batch Hq).
struct Alibi {
  const float* slopes = nullptr;
  int64_t stride_batch = 0;
};

// One learnable logit a query head: a key without a value that every row of the head sees. It
// enters the softmax's denominator and the LSE; LSE of a row that sees no key is then the logit
// itself.
struct Sink {
  const float* logits = nullptr;  // [Hq]
};

// Multiplies q, k, v after their conversion to f32 (f8_e4m3 operands): one factor for each batch
// row (or document) and key/value head, [sequences, Hkv]; null = 1.
struct Descale {
  const float *q = nullptr, *k = nullptr, *v = nullptr;
  int64_t stride_batch = 0;  // Hkv, or 0 for all sequences alike
};

// What a score or mask program (regard/program.h) reads besides the score and the positions: f32 or
// i32, up to four axes, strides in elements. An index outside its axis is never read: see
// regard/program.h.
struct ProgramTensor {
  const void* data = nullptr;
  bool is_integer = false;
  int32_t rank = 0;
  int64_t shape[4] = {}, stride[4] = {};
};

class Program;  // regard/program.h

// A program bound to memory. `tensors` stand in the order of the program's tensor list. Positions
// q and kv count inside a sequence (document), so that packed rows mean what unpacked ones do.
struct BoundProgram {
  const Program* program = nullptr;
  const ProgramTensor* tensors = nullptr;
  int32_t num_tensors = 0;
};

// How Q K^T is computed. int8 is SageAttention (Zhang et al. 2024, arXiv 2410.02367, 2411.10958): K
// loses its mean over the sequence (per sequence and head; softmax does not see it), Q and K become
// int8 with one f32 scale a group, O and the LSE are those of the quantised scores, the LSE
// corrected by q . mean(K). The backward differentiates through the quantisation as if it were the
// identity, from the same quantised operands.
enum class ScoreFormat : uint8_t { exact, int8 };
// Rows that share a scale. per_block: 128 queries, 64 keys. per_warp: 32 queries, 64 keys.
// per_thread: of each 32 queries those with equal index mod 8; of each 64 keys those whose index
// mod 8 is in {2t, 2t+1}, t = 0..3. Groups count from the sequence's first row.
enum class ScaleGroups : uint8_t { per_block, per_warp, per_thread };
// Format of P and V in P V: f32 sums of exact, f16-rounded, or e4m3-rounded (P * 448; V with one
// scale a channel and sequence) factors.
enum class ValueFormat : uint8_t { exact, f16, f8_e4m3 };

struct Quantization {
  ScoreFormat scores = ScoreFormat::exact;
  ScaleGroups groups = ScaleGroups::per_thread;
  ValueFormat values = ValueFormat::exact;
  bool smooth_k = true;
  bool int8_backward = false;  // dO, P and dS in int8 per block too (SageBwd, arXiv 2505.11594)
};

// Philox4x32-10 counted by (batch or document, head, query, key): every back end draws the same
// mask from one seed.
struct Dropout {
  float probability = 0.0f;
  uint64_t seed = 0;
};

// O = softmax(program(softcap(scale * Q K^T)) + bias + ALiBi, masked; sink) V per head. A fully
// masked row gives O = 0, LSE = -inf (the sink's logit where there is one) and zero gradients. LSE
// is the natural logarithm, f32.
struct Problem {
  View q{};            // [B, Sq, Hq, D]
  View k{};            // [B, Sk, Hkv, D]
  View v{};            // [B, Sk, Hkv, Dv]
  float scale = 0.0f;  // 0 = 1/sqrt(D)
  Causal causal = Causal::none;
  Window window{};
  Chunks chunks{};
  Documents documents{};
  Pages pages{};
  BlockMaskView block_mask{};
  MaskTensor mask{};
  BiasTensor bias{};
  Alibi alibi{};
  Sink sink{};
  float softcap = 0.0f;  // 0 = off; else scores become softcap * tanh(score / softcap)
  BoundProgram score_program{};
  BoundProgram mask_program{};
  // Where query 0 of a sequence stands for the programs: decoding gives the number of cached tokens
  // before it.
  int64_t first_query = 0;
  Dropout dropout{};
  Descale descale{};
  Quantization quantization{};
};

// LSE [B, Hq, Sq] f32; element (b, h, s) at data + b*stride_batch + h*stride_head + s.
struct LseView {
  float* data = nullptr;
  int64_t stride_batch = 0, stride_head = 0;
};

// What a forward writes. `lse.data` may be null where no backward follows.
struct ForwardOutputs {
  View o{};  // [B, Sq, Hq, Dv], dtype of q
  LseView lse{};
};

// Gradient of a BiasTensor, f32, written whole: the sum over the axes that the bias broadcasts,
// zero where no query sees the key. Its strides are 0 exactly where the bias has stride 0.
struct BiasGradient {
  float* data = nullptr;
  int64_t stride_batch = 0, stride_head = 0, stride_q = 0, stride_k = 0;
};

// What a backward reads besides the Problem, and writes. dq, dk, dv have the shapes of q, k, v and
// any dtype but f8 (f32 gradients of 16-bit operands are allowed). `dlse` is the gradient through
// LSE and may be null. The gradients below dv are optional, f32, and written whole (not added to):
// d_slopes has the shape of alibi.slopes ([Hq], or [B, Hq] where its stride_batch is not 0), d_sink
// is [Hq], d_tensors[i] is the gradient of score_program.tensors[i] (f32 ones), contiguous in the
// tensor's shape; null entries are not computed.
struct BackwardTensors {
  View o{};       // the forward's output
  LseView lse{};  // the forward's LSE
  View d_o{};     // gradient of o
  LseView d_lse{};
  View dq{}, dk{}, dv{};
  BiasGradient d_bias{};
  float* d_slopes = nullptr;
  float* d_sink = nullptr;
  float* const* d_tensors = nullptr;  // score_program.num_tensors pointers, or null
};

}  // namespace regard
