// What a launch passes to the kernels of the mma.sync family. Freestanding, and laid out alike by
// the host's compiler and by the GPU's.
#pragma once

namespace regard::gpu {

// Element (b, s, h, d) lies at data + b*stride_batch + s*stride_seq + h*stride_head + d, counted in
// elements.
struct OperandView {
  const unsigned short* data;
  long long stride_batch, stride_seq, stride_head;
};
struct ResultView {
  unsigned short* data;
  long long stride_batch, stride_seq, stride_head;
};

// Lengths and window bounds fit in 29 bits, so that sums of three of them fit in an int.
inline constexpr int kUnbounded = 1 << 29;

struct AttnFwdParams {
  OperandView q, k, v;  // [B, Sq, Hq, D], [B, Sk, Hkv, D], [B, Sk, Hkv, Dv]
  ResultView o;         // [B, Sq, Hq, Dv]
  float* lse;           // [B, Hq, Sq], natural logarithm; may be null
  long long lse_stride_batch, lse_stride_head;
  const int* q_offsets;  // [documents + 1] on the device; only with is_packed
  const int* k_offsets;
  const float* slopes;  // [Hq] or [B, Hq]; only with has_alibi
  long long slopes_stride_batch;
  int q_len, k_len;         // Sq, Sk; of packed rows the documents' own count
  int head_dim, value_dim;  // D, Dv as the caller has them
  int heads_per_kv_head;
  int left, right;     // keys beside the query's own; kUnbounded = all. Causal: right = 0
  int is_upper_left;   // where query 0 and key 0 are aligned, instead of the last ones
  float score_factor;  // of the raw q . k: scale * log2(e), with a softcap scale / softcap
  float softcap_log2;  // softcap * log2(e)
};

}  // namespace regard::gpu
