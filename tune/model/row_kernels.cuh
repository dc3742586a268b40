// row_kernels: what row_kernels.h does on a CPU, for a GPU: norms, SwiGLU, rotary embedding, cross
// entropy, dropout, 4-bit expansion, AdamW. The same formulas in the same order, f32 in registers.
// Tiling   Rows that need a sum or a maximum belong to one warp each (4 a block); other work is cut
//          into pieces of `step` elements, one a thread, 256 threads a block.
// Memory   All are bound by it: every operand is read once (norms and cross entropy twice, the
//          second time mostly from L2) and written once, 16 bytes an access where the step is 8.
// Limits   A step of 8 needs widths that are multiples of 8 (rotate: half heads); 1 serves all.
// The text before this one defines TUNE_ROW_CONFIG, a RowConfig.
#pragma once

#include "platform.cuh"
#include "row_params.h"

namespace tune::rows {

using regard::gpu::load_global;
using regard::gpu::store_global;

constexpr int kRowsPerBlock = 4, kThreads = 256;

// The only parameter of a kernel that is known when it is compiled.
struct RowConfig {
  bool is_bf16 = false;  // storage; else f32
  int step = 1;          // elements of a piece: 1 or 8
};

struct alignas(16) Word4 {
  unsigned word[4];
};

template <bool kBf16>
REGARD_DEVICE float read_one(const void* base, long long index) {
  if constexpr (kBf16) {
    const auto* from = static_cast<const unsigned short*>(base) + index;
    return regard::gpu::f32_from_bits<true>(load_global(from));
  } else {
    return load_global(static_cast<const float*>(base) + index);
  }
}

template <bool kBf16, int kCount>
REGARD_DEVICE void read(const void* base, long long index, float (&x)[kCount]) {
  if constexpr (kCount == 1) {
    x[0] = read_one<kBf16>(base, index);
  } else if constexpr (kBf16) {
    const auto* from = static_cast<const unsigned short*>(base) + index;
    const Word4 bits = load_global(reinterpret_cast<const Word4*>(from));
    REGARD_UNROLL
    for (int i = 0; i < 4; ++i) {
      x[2 * i] = regard::gpu::f32_from_bits<true>(bits.word[i] & 0xFFFFu);
      x[2 * i + 1] = regard::gpu::f32_from_bits<true>(bits.word[i] >> 16);
    }
  } else {
    struct alignas(16) Float4 {
      float value[4];
    };
    REGARD_UNROLL
    for (int half = 0; half < 2; ++half) {
      const auto* from = static_cast<const float*>(base) + index + 4 * half;
      const Float4 four = load_global(reinterpret_cast<const Float4*>(from));
      REGARD_UNROLL
      for (int i = 0; i < 4; ++i) {
        x[4 * half + i] = four.value[i];
      }
    }
  }
}

// Writes x; what was written, rounded to the storage type, is left in x.
template <bool kBf16, int kCount>
REGARD_DEVICE void write(void* base, long long index, float (&x)[kCount]) {
  if constexpr (kBf16 && kCount == 1) {
    const unsigned bits = regard::gpu::pack<true>(x[0], 0.0f) & 0xFFFFu;
    store_global(static_cast<unsigned short*>(base) + index, static_cast<unsigned short>(bits));
    x[0] = regard::gpu::f32_from_bits<true>(bits);
  } else if constexpr (kBf16) {
    Word4 bits;
    REGARD_UNROLL
    for (int i = 0; i < 4; ++i) {
      bits.word[i] = regard::gpu::pack<true>(x[2 * i], x[2 * i + 1]);
      x[2 * i] = regard::gpu::f32_from_bits<true>(bits.word[i] & 0xFFFFu);
      x[2 * i + 1] = regard::gpu::f32_from_bits<true>(bits.word[i] >> 16);
    }
    store_global(reinterpret_cast<Word4*>(static_cast<unsigned short*>(base) + index), bits);
  } else {
    REGARD_UNROLL
    for (int i = 0; i < kCount; ++i) {
      store_global(static_cast<float*>(base) + index + i, x[i]);
    }
  }
}

REGARD_DEVICE float warp_sum(float value) {
  REGARD_UNROLL
  for (int mask = 16; mask > 0; mask /= 2) {
    value += regard::gpu::shuffle_xor(value, mask);
  }
  return value;
}

// The row of this thread's warp, and its first piece of it.
REGARD_DEVICE long long warp_row() {
  return static_cast<long long>(regard::gpu::block_x()) * kRowsPerBlock +
         regard::gpu::thread_in_block() / 32;
}
template <RowConfig kCfg>
REGARD_DEVICE long long first_of_lane() {
  return regard::gpu::thread_in_block() % 32 * kCfg.step;
}

// The first element of this thread's piece.
template <RowConfig kCfg>
REGARD_DEVICE long long first_of_thread() {
  return (static_cast<long long>(regard::gpu::block_x()) * kThreads +
          regard::gpu::thread_in_block()) *
         kCfg.step;
}

template <RowConfig kCfg>
REGARD_DEVICE void add_rms_norm(const NormParams& p) {
  const long long row = warp_row(), begin = row * p.width;
  if (row >= p.num_rows) {
    return;
  }
  float squares = 0.0f;
  for (long long i = first_of_lane<kCfg>(); i < p.width; i += 32 * kCfg.step) {
    float x[kCfg.step];
    read<kCfg.is_bf16>(p.h, begin + i, x);
    if (p.delta != nullptr) {
      float d[kCfg.step];
      read<kCfg.is_bf16>(p.delta, begin + i, d);
      REGARD_UNROLL
      for (int e = 0; e < kCfg.step; ++e) {
        x[e] += d[e];
      }
      write<kCfg.is_bf16>(p.sum, begin + i, x);
    }
    REGARD_UNROLL
    for (int e = 0; e < kCfg.step; ++e) {
      squares += x[e] * x[e];
    }
  }
  const float mean = warp_sum(squares) / static_cast<float>(p.width);
  const float scale = 1.0f / regard::gpu::real_sqrt(mean + p.eps);
  if (first_of_lane<kCfg>() == 0) {
    store_global(p.rstd + row, scale);
  }
  const void* sum = p.delta != nullptr ? p.sum : p.h;
  for (long long i = first_of_lane<kCfg>(); i < p.width; i += 32 * kCfg.step) {
    float x[kCfg.step], w[kCfg.step];
    read<kCfg.is_bf16>(sum, begin + i, x);
    read<false>(p.weight, i, w);
    REGARD_UNROLL
    for (int e = 0; e < kCfg.step; ++e) {
      x[e] = x[e] * scale * w[e];
    }
    write<kCfg.is_bf16>(p.normed, begin + i, x);
  }
}

template <RowConfig kCfg>
REGARD_DEVICE void rms_norm_backward(const NormBackwardParams& p) {
  const long long row = warp_row(), begin = row * p.width;
  if (row >= p.num_rows) {
    return;
  }
  const float scale = load_global(p.rstd + row);
  float dot = 0.0f;
  for (long long i = first_of_lane<kCfg>(); i < p.width; i += 32 * kCfg.step) {
    float dn[kCfg.step], w[kCfg.step], x[kCfg.step];
    read<kCfg.is_bf16>(p.d_normed, begin + i, dn);
    read<false>(p.weight, i, w);
    read<kCfg.is_bf16>(p.sum, begin + i, x);
    REGARD_UNROLL
    for (int e = 0; e < kCfg.step; ++e) {
      dot += dn[e] * w[e] * x[e];
    }
  }
  const float mean = warp_sum(dot) * scale / static_cast<float>(p.width);  // of dn w xhat
  for (long long i = first_of_lane<kCfg>(); i < p.width; i += 32 * kCfg.step) {
    float dn[kCfg.step], w[kCfg.step], x[kCfg.step];
    read<kCfg.is_bf16>(p.d_normed, begin + i, dn);
    read<false>(p.weight, i, w);
    read<kCfg.is_bf16>(p.sum, begin + i, x);
    REGARD_UNROLL
    for (int e = 0; e < kCfg.step; ++e) {
      x[e] = (dn[e] * w[e] - x[e] * scale * mean) * scale;
    }
    if (p.d_sum != nullptr) {
      float carried[kCfg.step];
      read<kCfg.is_bf16>(p.d_sum, begin + i, carried);
      REGARD_UNROLL
      for (int e = 0; e < kCfg.step; ++e) {
        x[e] += carried[e];
      }
    }
    write<kCfg.is_bf16>(p.dx, begin + i, x);
  }
}

// One column a thread, rows_per_partial rows a block: no two threads add to one place, so that the
// sums are the same at every run.
template <RowConfig kCfg>
REGARD_DEVICE void norm_weight_gradient(const NormWeightParams& p) {
  const long long column =
      static_cast<long long>(regard::gpu::block_x()) * kThreads + regard::gpu::thread_in_block();
  const long long partial = regard::gpu::block_y();
  if (column >= p.width) {
    return;
  }
  const long long first = partial * p.rows_per_partial;
  const long long beyond = first + p.rows_per_partial;
  const long long last = beyond < p.num_rows ? beyond : p.num_rows;
  float sum = 0.0f;
  for (long long row = first; row < last; ++row) {
    const long long at = row * p.width + column;
    sum += read_one<kCfg.is_bf16>(p.d_normed, at) * read_one<kCfg.is_bf16>(p.sum, at) *
           load_global(p.rstd + row);
  }
  store_global(p.partials + partial * p.width + column, sum);
}

REGARD_DEVICE float sigmoid(float x) { return 1.0f / (1.0f + regard::gpu::real_exp(-x)); }

template <RowConfig kCfg>
REGARD_DEVICE void swiglu(const SwigluParams& p) {
  const long long first = first_of_thread<kCfg>();
  if (first >= p.num_elements) {
    return;
  }
  float g[kCfg.step], u[kCfg.step];
  read<kCfg.is_bf16>(p.gate, first, g);
  read<kCfg.is_bf16>(p.up, first, u);
  REGARD_UNROLL
  for (int e = 0; e < kCfg.step; ++e) {
    g[e] = g[e] * sigmoid(g[e]) * u[e];
  }
  write<kCfg.is_bf16>(p.act, first, g);
}

template <RowConfig kCfg>
REGARD_DEVICE void swiglu_backward(const SwigluParams& p) {
  const long long first = first_of_thread<kCfg>();
  if (first >= p.num_elements) {
    return;
  }
  float g[kCfg.step], u[kCfg.step], d[kCfg.step];
  read<kCfg.is_bf16>(p.gate, first, g);
  read<kCfg.is_bf16>(p.up, first, u);
  read<kCfg.is_bf16>(p.d_act, first, d);
  REGARD_UNROLL
  for (int e = 0; e < kCfg.step; ++e) {
    const float s = sigmoid(g[e]);
    const float slope = s * (g[e] * (1.0f - s) + 1.0f);  // d silu(x) / dx
    const float d_up = d[e] * (g[e] * s);
    g[e] = d[e] * u[e] * slope;
    u[e] = d_up;
  }
  write<kCfg.is_bf16>(p.d_gate, first, g);
  write<kCfg.is_bf16>(p.d_up, first, u);
}

template <RowConfig kCfg>
REGARD_DEVICE void rotate(const RotateParams& p) {
  const long long half = p.head_dim / 2, pairs = p.width / 2;
  const long long first = first_of_thread<kCfg>();
  const long long row = first / pairs, pair = first % pairs;
  if (row >= p.num_rows) {
    return;
  }
  const long long head = pair / half, i = pair % half;
  const long long at = row * p.width + head * p.head_dim + i;
  float a[kCfg.step], b[kCfg.step], c[kCfg.step], s[kCfg.step];
  read<kCfg.is_bf16>(p.in, at, a);
  read<kCfg.is_bf16>(p.in, at + half, b);
  read<false>(p.cos, row * half + i, c);
  read<false>(p.sin, row * half + i, s);
  REGARD_UNROLL
  for (int e = 0; e < kCfg.step; ++e) {
    const float turn = s[e] * p.sign, x = a[e], y = b[e];
    a[e] = x * c[e] - y * turn;
    b[e] = y * c[e] + x * turn;
  }
  write<kCfg.is_bf16>(p.out, at, a);
  write<kCfg.is_bf16>(p.out, at + half, b);
}

// e^x - 1 without losing the digits of a small x.
REGARD_DEVICE float exp_minus_one(float x) {
  if (x < -0.35f || x > 0.35f) {
    return regard::gpu::real_exp(x) - 1.0f;
  }
  float sum = 1.0f / 5040.0f;  // Taylor: the term left out is below 2^-25 of the sum
  sum = sum * x + 1.0f / 720.0f;
  sum = sum * x + 1.0f / 120.0f;
  sum = sum * x + 1.0f / 24.0f;
  sum = sum * x + 1.0f / 6.0f;
  sum = sum * x + 0.5f;
  sum = sum * x + 1.0f;
  return sum * x;
}

// Maximum and sum of exponentials in one pass: the sum is scaled when the maximum grows.
struct MaxAndSum {
  float top, sum;
};
REGARD_DEVICE void include(MaxAndSum& all, float top, float sum) {
  if (top > all.top) {
    all.sum = all.sum * regard::gpu::real_exp(all.top - top) + sum;
    all.top = top;
  } else if (sum > 0.0f) {
    all.sum += sum * regard::gpu::real_exp(top - all.top);
  }
}

template <RowConfig kCfg>
REGARD_DEVICE MaxAndSum max_and_sum(const CrossEntropyParams& p, long long begin) {
  MaxAndSum all{-regard::gpu::infinity(), 0.0f};
  for (long long i = first_of_lane<kCfg>(); i < p.width; i += 32 * kCfg.step) {
    float x[kCfg.step];
    read<kCfg.is_bf16>(p.logits, begin + i, x);
    float top = x[0];
    REGARD_UNROLL
    for (int e = 1; e < kCfg.step; ++e) {
      top = regard::gpu::maximum(top, x[e]);
    }
    float sum = 0.0f;
    REGARD_UNROLL
    for (int e = 0; e < kCfg.step; ++e) {
      sum += regard::gpu::real_exp(x[e] - top);
    }
    include(all, top, sum);
  }
  REGARD_UNROLL
  for (int mask = 16; mask > 0; mask /= 2) {
    const float top = regard::gpu::shuffle_xor(all.top, mask);
    const float sum = regard::gpu::shuffle_xor(all.sum, mask);
    // In the order of the lanes, so that all lanes get the same bits.
    const bool is_upper = (regard::gpu::thread_in_block() & mask) != 0;
    MaxAndSum low = is_upper ? MaxAndSum{top, sum} : all;
    include(low, is_upper ? all.top : top, is_upper ? all.sum : sum);
    all = low;
  }
  return all;
}

template <RowConfig kCfg>
REGARD_DEVICE void cross_entropy(const CrossEntropyParams& p) {
  const long long row = warp_row(), begin = row * p.width;
  if (row >= p.num_rows) {
    return;
  }
  const long long target = load_global(p.targets + row);
  const float target_logit = read_one<kCfg.is_bf16>(p.logits, begin + target);
  const MaxAndSum all = max_and_sum<kCfg>(p, begin);  // its shuffles come before any lane writes
  const float loss = regard::gpu::real_log(all.sum) + all.top - target_logit;
  if (first_of_lane<kCfg>() == 0) {
    store_global(p.losses + row, loss);
  }
  if (!p.writes_gradient) {
    return;
  }
  const float inverse = 1.0f / all.sum;
  for (long long i = first_of_lane<kCfg>(); i < p.width; i += 32 * kCfg.step) {
    float x[kCfg.step];
    read<kCfg.is_bf16>(p.logits, begin + i, x);
    REGARD_UNROLL
    for (int e = 0; e < kCfg.step; ++e) {
      x[e] =
          i + e == target ? exp_minus_one(-loss) : regard::gpu::real_exp(x[e] - all.top) * inverse;
    }
    write<kCfg.is_bf16>(p.logits, begin + i, x);
  }
}

// MurmurHash3's 32-bit finaliser: every input bit reaches every output bit.
REGARD_DEVICE unsigned mix(unsigned h) {
  h ^= h >> 16;
  h *= 0x85EBCA6Bu;
  h ^= h >> 13;
  h *= 0xC2B2AE35u;
  return h ^ h >> 16;
}

template <RowConfig kCfg>
REGARD_DEVICE void dropout(const DropoutParams& p) {
  const long long first = first_of_thread<kCfg>();
  if (first >= p.num_elements) {
    return;
  }
  float x[kCfg.step];
  read<kCfg.is_bf16>(p.in, first, x);
  REGARD_UNROLL
  for (int e = 0; e < kCfg.step; ++e) {
    const unsigned draw = mix(mix(static_cast<unsigned>(first + e) + p.key_low) ^ p.key_high);
    x[e] = draw < p.threshold ? 0.0f : x[e] * p.scale;
  }
  if (p.accumulates) {
    float sum[kCfg.step];
    read<kCfg.is_bf16>(p.out, first, sum);
    REGARD_UNROLL
    for (int e = 0; e < kCfg.step; ++e) {
      x[e] += sum[e];
    }
  }
  write<kCfg.is_bf16>(p.out, first, x);
}

template <RowConfig kCfg>
REGARD_DEVICE void adamw(const AdamWParams& p) {
  const AdamWScalars& s = p.scalars;
  const long long first = first_of_thread<kCfg>();
  REGARD_UNROLL
  for (int e = 0; e < kCfg.step; ++e) {
    const long long i = first + e;
    if (i >= p.num_elements) {
      return;
    }
    const float g = load_global(p.gradient + i) * s.gradient_scale;
    float m = load_global(p.first + i), v = load_global(p.second + i);
    m += s.one_minus_beta1 * (g - m);
    v = s.beta2 * v + s.one_minus_beta2 * g * g;
    const float denominator = regard::gpu::real_sqrt(v) / s.root_correction + s.epsilon;
    store_global(p.first + i, m);
    store_global(p.second + i, v);
    const float x = load_global(p.parameter + i);
    store_global(p.parameter + i, x * s.keep - s.step_size * m / denominator);
  }
}

template <RowConfig kCfg>
REGARD_DEVICE void expand_nf4(const Nf4Params& p) {
  const long long first = first_of_thread<kCfg>();
  if (first >= p.num_elements) {
    return;
  }
  const long long block = first / 64;  // kCfg.step divides 64
  const float relative = load_global(p.tables + 16 + load_global(p.maxima + block));
  const float maximum = relative * load_global(p.nested_scales + block / 256) + p.offset;
  float x[kCfg.step];
  REGARD_UNROLL
  for (int e = 0; e < kCfg.step; ++e) {
    const unsigned byte = load_global(p.codes + (first + e) / 2);
    const unsigned code = (first + e) % 2 == 0 ? byte >> 4 : byte & 15u;
    x[e] = load_global(p.tables + code) * maximum;
  }
  write<kCfg.is_bf16>(p.out, first, x);
}

}  // namespace tune::rows

#if defined(__CUDACC__)
constexpr tune::rows::RowConfig kRowConfig = TUNE_ROW_CONFIG;
#define TUNE_ROW_KERNEL(name, Params, threads)                  \
  extern "C" __global__ void __launch_bounds__(threads)         \
      name(const __grid_constant__ tune::rows::Params params) { \
    tune::rows::name<kRowConfig>(params);                       \
  }
TUNE_ROW_KERNEL(add_rms_norm, NormParams, 128)
TUNE_ROW_KERNEL(rms_norm_backward, NormBackwardParams, 128)
TUNE_ROW_KERNEL(norm_weight_gradient, NormWeightParams, 256)
TUNE_ROW_KERNEL(swiglu, SwigluParams, 256)
TUNE_ROW_KERNEL(swiglu_backward, SwigluParams, 256)
TUNE_ROW_KERNEL(rotate, RotateParams, 256)
TUNE_ROW_KERNEL(cross_entropy, CrossEntropyParams, 128)
TUNE_ROW_KERNEL(dropout, DropoutParams, 256)
TUNE_ROW_KERNEL(adamw, AdamWParams, 256)
TUNE_ROW_KERNEL(expand_nf4, Nf4Params, 256)
#endif
