// Loops over rows of activations that no matrix product covers: norms, SwiGLU, rotary embedding,
// cross entropy, dropout, 4-bit expansion. SIMD over Highway, one thread a call; the callers split
// the rows. Values are f32 or bf16 in memory and f32 in registers, whatever the storage.
#pragma once

#include <cstdint>

namespace tune::rows {

enum class Element : uint8_t { f32, bf16 };

// Contiguous rows of one element type.
struct Matrix {
  void* data = nullptr;
  Element type = Element::f32;
  int64_t width = 0;
};

// Half-open range of rows.
struct Range {
  int64_t first = 0, last = 0;
};

// sum = h + delta (rounded to the storage type; skipped when delta.data is null, then sum is not
// written), normed = sum * rstd * weight with rstd = 1 / sqrt(mean(sum^2) + eps). rstd: one f32 a
// row. Zhang and Sennrich 2019 (arXiv 1910.07467).
void add_rms_norm(const Matrix& h, const Matrix& delta, const float* weight, float eps,
                  const Matrix& sum, const Matrix& normed, float* rstd, Range range);

// dx = d_sum (where given) + rstd * (dn w - xhat mean(dn w xhat)) with xhat = sum rstd;
// d_weight (may be null) gets sum over the range of dn xhat added.
void rms_norm_backward(const Matrix& d_normed, const Matrix& d_sum, const Matrix& sum,
                       const float* weight, const float* rstd, const Matrix& dx, float* d_weight,
                       Range range);

// act = silu(gate) * up.
void swiglu(const Matrix& gate, const Matrix& up, const Matrix& act, Range range);
void swiglu_backward(const Matrix& d_act, const Matrix& gate, const Matrix& up,
                     const Matrix& d_gate, const Matrix& d_up, Range range);

// Rotates pairs (i, i + head_dim/2) of every head by the row's angle; `sign` -1 turns back.
// cos, sin: [rows, head_dim/2] f32; in and out may be the same memory.
void rotate(const Matrix& in, const Matrix& out, const float* cos, const float* sin,
            int64_t head_dim, float sign, Range range);

// Row-wise -log softmax(logits)[target]. With `write_gradient` the row is overwritten by
// softmax(logits) - onehot(target). losses: one f32 a row.
void cross_entropy(const Matrix& logits, const int64_t* targets, float* losses, bool write_gradient,
                   Range range);

// Which elements a dropout keeps is a function of (key, element index) alone.
struct DropoutKey {
  uint32_t low = 0, high = 0;
};
DropoutKey dropout_key(uint64_t seed, uint64_t stream);
// out = keep ? in / (1 - probability) : 0; `accumulate` adds to out instead.
void dropout(const Matrix& in, const Matrix& out, DropoutKey key, float probability,
             bool accumulate, Range range);

}  // namespace tune::rows
