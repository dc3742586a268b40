// Problem: one attention computation, described by value. Every module of the table in docs/modules
// lowers to it and every back end reads it. Freestanding: no STL containers, so that device code
// can include it too.
//
// Glossary  B batch, Hq/Hkv query and key/value heads (Hq % Hkv == 0), Sq/Sk lengths, D head size
// of Q and K, Dv of V.
#pragma once

#include <cstdint>

namespace regard {

enum class DType : uint8_t { f32, f16, bf16 };

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

// Packed rows: batch must be 1 and `seq` counts all tokens. Document i owns queries
// q_offsets[i]..q_offsets[i+1] and keys k_offsets[i]..k_offsets[i+1]; documents never see each
// other; alignment and window count inside a document. Offsets are non-decreasing, start at 0 and
// end at Sq / Sk. count == 0 means: not packed.
struct Documents {
  const int32_t* q_offsets = nullptr;
  const int32_t* k_offsets = nullptr;
  int32_t count = 0;
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

// Philox4x32-10 counted by (batch or document, head, query, key): every back end draws the same
// mask from one seed.
struct Dropout {
  float probability = 0.0f;
  uint64_t seed = 0;
};

// O = softmax(softcap(scale * Q K^T) + bias, masked) V per head. A fully masked row gives O = 0,
// LSE = -inf and zero gradients. LSE is the natural logarithm, f32.
struct Problem {
  View q{};            // [B, Sq, Hq, D]
  View k{};            // [B, Sk, Hkv, D]
  View v{};            // [B, Sk, Hkv, Dv]
  float scale = 0.0f;  // 0 = 1/sqrt(D)
  Causal causal = Causal::none;
  Window window{};
  Documents documents{};
  MaskTensor mask{};
  BiasTensor bias{};
  Alibi alibi{};
  float softcap = 0.0f;  // 0 = off; else scores become softcap * tanh(score / softcap)
  Dropout dropout{};
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

// What a backward reads besides the Problem, and writes. dq, dk, dv have the shapes of q, k, v and
// any dtype of DType (f32 gradients of 16-bit operands are allowed). `dlse` is the gradient through
// LSE and may be null.
struct BackwardTensors {
  View o{};       // the forward's output
  LseView lse{};  // the forward's LSE
  View d_o{};     // gradient of o
  LseView d_lse{};
  View dq{}, dk{}, dv{};
};

}  // namespace regard
