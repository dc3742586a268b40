// The primitives of platform.cuh for AMD GPUs, from the compiler's builtins alone. What NVIDIA has
// as an instruction (matrix product, fragment loads, asynchronous copies) is made of shuffles and
// plain accesses here: right, but slow, until AMD's matrix instructions take their place. A warp of
// the kernels is 32 neighbouring lanes; where a wave has 64, it holds two of them.
#pragma once

#define __device__ __attribute__((device))
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))
#define REGARD_DEVICE __device__ inline __attribute__((always_inline))
#define REGARD_UNROLL _Pragma("unroll")
#define REGARD_UNROLL_1 _Pragma("unroll 1")
#define REGARD_UNROLL_2 _Pragma("unroll 2")

namespace regard::gpu {

REGARD_DEVICE int thread_in_block() { return static_cast<int>(__builtin_amdgcn_workitem_id_x()); }
REGARD_DEVICE int block_x() { return static_cast<int>(__builtin_amdgcn_workgroup_id_x()); }
REGARD_DEVICE int block_y() { return static_cast<int>(__builtin_amdgcn_workgroup_id_y()); }
REGARD_DEVICE int block_z() { return static_cast<int>(__builtin_amdgcn_workgroup_id_z()); }
// Grid sizes of AMD's dispatch packet count threads.
REGARD_DEVICE int num_blocks_x() {
  return static_cast<int>(__builtin_amdgcn_grid_size_x() / __builtin_amdgcn_workgroup_size_x());
}

REGARD_DEVICE void block_barrier() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}

// Kernels of a stream begin in order.
REGARD_DEVICE void let_next_kernel_begin() {}
REGARD_DEVICE void await_earlier_kernels() {}
// AMD has no barrier of some waves; this one asks that all pairs get here equally often.
REGARD_DEVICE void warp_pair_barrier() { block_barrier(); }

// The value of another lane of the warp.
REGARD_DEVICE unsigned shuffle_from(unsigned value, int lane) {
  const int first = (thread_in_block() & ~31) % __builtin_amdgcn_wavefrontsize();
  return static_cast<unsigned>(
      __builtin_amdgcn_ds_bpermute(4 * (first + lane), static_cast<int>(value)));
}
template <typename T>
REGARD_DEVICE T shuffle_xor(T value, int mask) {
  const unsigned bits =
      shuffle_from(__builtin_bit_cast(unsigned, value), (thread_in_block() % 32) ^ mask);
  return __builtin_bit_cast(T, bits);
}
REGARD_DEVICE bool any_lane(bool condition) {
  unsigned any = condition ? 1 : 0;
  REGARD_UNROLL
  for (int mask = 1; mask < 32; mask *= 2) {
    any |= shuffle_xor(any, mask);
  }
  return any != 0;
}

REGARD_DEVICE int warp_in_block() { return thread_in_block() / 32; }

struct alignas(16) Piece {
  unsigned word[4];
};

template <typename T>
REGARD_DEVICE T load_global(const T* from) {
  return *from;
}
template <typename T>
REGARD_DEVICE void store_global(T* to, T value) {
  *to = value;
}
REGARD_DEVICE Piece load_global_piece(const unsigned short* from) {
  return *reinterpret_cast<const Piece*>(from);
}
REGARD_DEVICE void store_global_piece(unsigned short* to, const Piece& piece) {
  *reinterpret_cast<Piece*>(to) = piece;
}
REGARD_DEVICE void add_global(float* to, float value) {
  __hip_atomic_fetch_add(to, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
REGARD_DEVICE void add_global(float* to, const float (&values)[4]) {
  REGARD_UNROLL
  for (int i = 0; i < 4; ++i) {
    add_global(to + i, values[i]);
  }
}
REGARD_DEVICE void add_global(unsigned long long* to, unsigned long long value) {
  __hip_atomic_fetch_add(to, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
REGARD_DEVICE void max_global(unsigned* to, unsigned value) {
  __hip_atomic_fetch_max(to, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
template <typename T>
REGARD_DEVICE T load_shared(const T* from) {
  return *from;
}
template <typename T>
REGARD_DEVICE void store_shared(T* to, T value) {
  *to = value;
}
REGARD_DEVICE void store_shared_piece(unsigned short* to, const Piece& piece) {
  *reinterpret_cast<Piece*>(to) = piece;
}

template <int kFetchBytes = 0>
REGARD_DEVICE void async_copy_piece(unsigned short* to, const unsigned short* from,
                                    bool is_inside) {
  store_shared_piece(to, is_inside ? load_global_piece(from) : Piece{});
}
REGARD_DEVICE void async_commit() {}
template <int kPending>
REGARD_DEVICE void async_wait() {}

// Shared memory is addressed by 32 bits within its own address space: pointers fit a shuffle.
REGARD_DEVICE const unsigned short* row_of_lane(const unsigned short* row, int lane) {
  const auto bits = __builtin_bit_cast(unsigned long long, row);
  const unsigned low = shuffle_from(static_cast<unsigned>(bits), lane);
  const unsigned high = shuffle_from(static_cast<unsigned>(bits >> 32), lane);
  return __builtin_bit_cast(const unsigned short*,
                            static_cast<unsigned long long>(high) << 32 | low);
}
REGARD_DEVICE void load_fragments(unsigned (&to)[4], const unsigned short* row) {
  const int lane = thread_in_block() % 32;
  REGARD_UNROLL
  for (int matrix = 0; matrix < 4; ++matrix) {
    const unsigned short* from = row_of_lane(row, matrix * 8 + lane / 4) + lane % 4 * 2;
    to[matrix] = from[0] | static_cast<unsigned>(from[1]) << 16;
  }
}
REGARD_DEVICE void load_fragments_transposed(unsigned (&to)[4], const unsigned short* row) {
  const int lane = thread_in_block() % 32;
  REGARD_UNROLL
  for (int matrix = 0; matrix < 4; ++matrix) {
    const int first = matrix * 8 + lane % 4 * 2;
    to[matrix] = row_of_lane(row, first)[lane / 4] |
                 static_cast<unsigned>(row_of_lane(row, first + 1)[lane / 4]) << 16;
  }
}

REGARD_DEVICE float f32_from_word(unsigned bits) { return __builtin_bit_cast(float, bits); }
REGARD_DEVICE unsigned word_from_f32(float value) { return __builtin_bit_cast(unsigned, value); }
template <bool kIsBf16>
REGARD_DEVICE float element_of_pair(unsigned pair, int index) {
  const auto bits = static_cast<unsigned short>(pair >> 16 * index);
  if constexpr (kIsBf16) {
    return __builtin_bit_cast(float, static_cast<unsigned>(bits) << 16);
  } else {
    return static_cast<float>(__builtin_bit_cast(_Float16, bits));
  }
}
template <bool kIsBf16>
REGARD_DEVICE float f32_from_bits(unsigned bits) {
  return element_of_pair<kIsBf16>(bits, 0);
}
template <bool kIsBf16>
REGARD_DEVICE unsigned bits_of_element(float value) {
  if constexpr (kIsBf16) {  // to nearest even; NaN keeps a bit of its mantissa
    const auto bits = __builtin_bit_cast(unsigned, value);
    return value != value ? bits >> 16 | 0x40u : (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
  } else {
    return __builtin_bit_cast(unsigned short, static_cast<_Float16>(value));
  }
}
template <bool kIsBf16>
REGARD_DEVICE unsigned pack(float low, float high) {
  return bits_of_element<kIsBf16>(low) | bits_of_element<kIsBf16>(high) << 16;
}

// c[16 x 8] += a[16 x 16] b[16 x 8] by the lane maps of mma.m16n8k16: the quad of a row holds its
// 16 elements of a, and the lanes 4 * column + i the column's of b.
template <bool kIsBf16, bool kHasDepth16>
REGARD_DEVICE void matrix_product(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  const int lane = thread_in_block() % 32;
  REGARD_UNROLL
  for (int i = 0; i < 8; ++i) {  // depths 2 * i and 2 * i + 1
    const int owner = i % 4, upper = i / 4;
    unsigned left[2], right[2];
    REGARD_UNROLL
    for (int half = 0; half < 2; ++half) {
      left[half] = shuffle_from(a[half + 2 * upper], lane / 4 * 4 + owner);
      right[half] = shuffle_from(upper == 0 ? b0 : b1, (lane % 4 * 2 + half) * 4 + owner);
    }
    REGARD_UNROLL
    for (int e = 0; e < 8; ++e) {
      c[e / 2] += element_of_pair<kIsBf16>(left[e / 4], e % 2) *
                  element_of_pair<kIsBf16>(right[e / 2 % 2], e % 2);
    }
  }
}

// The same for int8 and int32 sums, c[16 x 8] += a[16 x 32] b[32 x 8].
REGARD_DEVICE void matrix_product_int8(int (&c)[4], const unsigned (&a)[4], unsigned b0,
                                       unsigned b1) {
  const int lane = thread_in_block() % 32;
  REGARD_UNROLL
  for (int i = 0; i < 8; ++i) {  // depths 4 * i to 4 * i + 3
    const int owner = i % 4, upper = i / 4;
    unsigned left[2], right[2];
    REGARD_UNROLL
    for (int half = 0; half < 2; ++half) {
      left[half] = shuffle_from(a[half + 2 * upper], lane / 4 * 4 + owner);
      right[half] = shuffle_from(upper == 0 ? b0 : b1, (lane % 4 * 2 + half) * 4 + owner);
    }
    REGARD_UNROLL
    for (int e = 0; e < 16; ++e) {
      c[e / 4] += static_cast<signed char>(left[e / 8] >> e % 4 * 8) *
                  static_cast<signed char>(right[e / 4 % 2] >> e % 4 * 8);
    }
  }
}

REGARD_DEVICE float exp2_fast(float x) { return __builtin_amdgcn_exp2f(x); }
REGARD_DEVICE float log2_fast(float x) { return __builtin_amdgcn_logf(x); }
REGARD_DEVICE float reciprocal_fast(float x) { return __builtin_amdgcn_rcpf(x); }
REGARD_DEVICE float maximum(float a, float b) { return __builtin_fmaxf(a, b); }
REGARD_DEVICE float infinity() { return __builtin_inff(); }

REGARD_DEVICE float rounded_product(float x, float y) {
#pragma clang fp contract(off)
  return x * y;
}
REGARD_DEVICE float quotient_fast(float x, float y) { return x / y; }
REGARD_DEVICE float real_abs(float x) { return __builtin_fabsf(x); }
REGARD_DEVICE float real_exp(float x) { return __builtin_expf(x); }
REGARD_DEVICE float real_exp2(float x) { return __builtin_exp2f(x); }
REGARD_DEVICE float real_log(float x) { return __builtin_logf(x); }
REGARD_DEVICE float real_tanh(float x) {
  return 1.0f - 2.0f * reciprocal_fast(exp2_fast(x * 2.8853900817779268f) + 1.0f);
}
REGARD_DEVICE float real_sigmoid(float x) {
  return reciprocal_fast(exp2_fast(x * -1.4426950408889634f) + 1.0f);
}
REGARD_DEVICE float real_sqrt(float x) { return __builtin_sqrtf(x); }
REGARD_DEVICE float real_floor(float x) { return __builtin_floorf(x); }
REGARD_DEVICE float real_modulo(float x, float y) {
  return x - y * __builtin_truncf(x / y);  // exact only where the quotient is below 2^24
}
REGARD_DEVICE float real_pow(float x, float y) {
  const float magnitude = __builtin_exp2f(y * __builtin_log2f(__builtin_fabsf(x)));
  const bool is_whole = __builtin_floorf(y) == y;
  const bool is_odd = is_whole && __builtin_floorf(y * 0.5f) * 2.0f != y;
  return x >= 0.0f ? magnitude : !is_whole ? __builtin_nanf("") : is_odd ? -magnitude : magnitude;
}

}  // namespace regard::gpu
