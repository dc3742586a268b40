// The primitives of platform.cuh as PTX, for NVIDIA GPUs of compute capability 7.5 and later. Lane
// maps of fragments are those of the PTX manual (mma.m16n8k16, ldmatrix).
#pragma once

#define REGARD_DEVICE __device__ __forceinline__
#define REGARD_UNROLL _Pragma("unroll")
#define REGARD_UNROLL_1 _Pragma("unroll 1")
#define REGARD_UNROLL_2 _Pragma("unroll 2")

namespace regard::gpu {

REGARD_DEVICE int thread_in_block() { return static_cast<int>(threadIdx.x); }
REGARD_DEVICE int block_x() { return static_cast<int>(blockIdx.x); }
REGARD_DEVICE int block_y() { return static_cast<int>(blockIdx.y); }
REGARD_DEVICE int block_z() { return static_cast<int>(blockIdx.z); }
REGARD_DEVICE int num_blocks_x() { return static_cast<int>(gridDim.x); }

// All threads of the block wait for each other; what they wrote to shared memory is then seen.
REGARD_DEVICE void block_barrier() { __syncthreads(); }
// The same of two warps, threads 64 i to 64 i + 63 of the block. Every pair has a barrier of its
// own, beside the block's.
REGARD_DEVICE void warp_pair_barrier() {
  asm volatile("bar.sync %0, 64;" ::"r"(1 + thread_in_block() / 64) : "memory");
}

// Lets a kernel that was launched to begin early (launch/launch_kernel.h) do so once every block
// has called this or ended; and waits, in that kernel, until the earlier ones have ended and what
// they wrote is seen.
REGARD_DEVICE void let_next_kernel_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
REGARD_DEVICE void await_earlier_kernels() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The value of the lane whose number differs in the bits of `mask`.
template <typename T>
REGARD_DEVICE T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(0xFFFFFFFFu, value, mask);
}

// Whether the condition holds in some lane of the warp.
REGARD_DEVICE bool any_lane(bool condition) { return __any_sync(0xFFFFFFFFu, condition) != 0; }

// The same for all lanes of a warp, and known as such to the compiler: branches on it need no care
// for lanes that part.
REGARD_DEVICE int warp_in_block() {
  return __shfl_sync(0xFFFFFFFFu, static_cast<int>(threadIdx.x) / 32, 0);
}

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
  Piece piece;
  asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(piece.word[0]), "=r"(piece.word[1]), "=r"(piece.word[2]), "=r"(piece.word[3])
               : "l"(from));
  return piece;
}

REGARD_DEVICE void store_global_piece(unsigned short* to, const Piece& piece) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(piece.word[0]),
               "r"(piece.word[1]), "r"(piece.word[2]), "r"(piece.word[3])
               : "memory");
}
// Adds to memory that other blocks add to as well, in any order. `to` of four: 16-byte aligned.
REGARD_DEVICE void add_global(float* to, float value) {
  asm volatile("red.relaxed.gpu.global.add.f32 [%0], %1;" ::"l"(to), "f"(value) : "memory");
}
REGARD_DEVICE void add_global(float* to, const float (&values)[4]) {
#if __CUDA_ARCH__ >= 900
  asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to),
               "f"(values[0]), "f"(values[1]), "f"(values[2]), "f"(values[3])
               : "memory");
#else
  REGARD_UNROLL
  for (int i = 0; i < 4; ++i) {
    add_global(to + i, values[i]);
  }
#endif
}

// The same of integers, whose sum and maximum do not depend on the order.
REGARD_DEVICE void add_global(unsigned long long* to, unsigned long long value) {
  atomicAdd(to, value);
}
REGARD_DEVICE void max_global(unsigned* to, unsigned value) { atomicMax(to, value); }

REGARD_DEVICE unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
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
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(to)),
               "r"(piece.word[0]), "r"(piece.word[1]), "r"(piece.word[2]), "r"(piece.word[3])
               : "memory");
}

// Starts copying 16 bytes from global to shared memory; writes zeros instead, and reads nothing,
// where `is_inside` is false. The L2 cache fetches the kFetchBytes (0, 128, 256) that hold them.
template <int kFetchBytes = 0>
REGARD_DEVICE void async_copy_piece(unsigned short* to, const unsigned short* from,
                                    bool is_inside) {
  static_assert(kFetchBytes == 0 || kFetchBytes == 128 || kFetchBytes == 256);
  const int num_bytes = is_inside ? 16 : 0;
  if constexpr (kFetchBytes == 256) {
    asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(num_bytes)
                 : "memory");
  } else if constexpr (kFetchBytes == 128) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(num_bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(num_bytes)
                 : "memory");
  }
}
// Closes the group of copies started since the last call.
REGARD_DEVICE void async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `kPending` of this thread's groups are under way.
template <int kPending>
REGARD_DEVICE void async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Four 8x8 matrices of 16-bit elements. Lane l names row l % 8 of matrix l / 8; register i of lane
// l becomes elements 2 * (l % 4) and the next of row l / 4 of matrix i, or of its transpose.
REGARD_DEVICE void load_fragments(unsigned (&to)[4], const unsigned short* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}
REGARD_DEVICE void load_fragments_transposed(unsigned (&to)[4], const unsigned short* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}

// c[16 x 8] += a[16 x 16] b[16 x 8], f32 sums. Lane l holds rows l / 4 and l / 4 + 8 of a and c,
// column l / 4 of b.
template <bool kIsBf16, bool kHasDepth16>
REGARD_DEVICE void matrix_product(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  if constexpr (!kHasDepth16) {  // two steps of depth 8 take the same registers
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[2]), "r"(a[3]), "r"(b1));
  } else if constexpr (kIsBf16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

// The same for int8 and int32 sums, c[16 x 8] += a[16 x 32] b[32 x 8]: a register holds four
// elements where those above hold two.
REGARD_DEVICE void matrix_product_int8(int (&c)[4], const unsigned (&a)[4], unsigned b0,
                                       unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// To nearest even; NaN keeps a bit of its mantissa.
REGARD_DEVICE unsigned bf16_bits(float value) {
  const unsigned bits = __float_as_uint(value);
  return value != value ? bits >> 16 | 0x40u : (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
}
// Two f32 as 16-bit elements, rounded to nearest even; `low` in the lower half.
template <bool kIsBf16>
REGARD_DEVICE unsigned pack(float low, float high) {
  unsigned packed;
  if constexpr (kIsBf16) {
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
#else  // Turing has no such conversion
    packed = bf16_bits(low) | bf16_bits(high) << 16;
#endif
  } else {  // cvt.rn.f16x2.f32 needs sm_80
    asm("{ .reg .b16 l, h; cvt.rn.f16.f32 l, %1; cvt.rn.f16.f32 h, %2; mov.b32 %0, {l, h}; }"
        : "=r"(packed)
        : "f"(low), "f"(high));
  }
  return packed;
}

REGARD_DEVICE float f32_from_word(unsigned bits) { return __uint_as_float(bits); }
REGARD_DEVICE unsigned word_from_f32(float value) { return __float_as_uint(value); }
// One 16-bit element.
template <bool kIsBf16>
REGARD_DEVICE float f32_from_bits(unsigned bits) {
  if constexpr (kIsBf16) {
    return __uint_as_float(bits << 16);
  } else {
    float value;
    asm("{ .reg .b16 h; cvt.u16.u32 h, %1; cvt.f32.f16 %0, h; }" : "=f"(value) : "r"(bits));
    return value;
  }
}

// 2^x, relative error 2^-22; 0 for -infinity.
REGARD_DEVICE float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
REGARD_DEVICE float log2_fast(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
REGARD_DEVICE float reciprocal_fast(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// The larger one; a NaN loses.
REGARD_DEVICE float maximum(float a, float b) {
  float c;
  asm("max.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b));
  return c;
}
// Operations of the program language, to the accuracy of CUDA's own functions (2 ulp; 8 for pow);
// tanh and sigmoid to 2e-7.
REGARD_DEVICE float rounded_product(float x, float y) {  // never part of a fused operation
  float product;
  asm("mul.rn.f32 %0, %1, %2;" : "=f"(product) : "f"(x), "f"(y));
  return product;
}
// x / y to 2 ulp where y is no denormal; 0 where |y| >= 2^126.
REGARD_DEVICE float quotient_fast(float x, float y) {
  float quotient;
  asm("div.approx.f32 %0, %1, %2;" : "=f"(quotient) : "f"(x), "f"(y));
  return quotient;
}
REGARD_DEVICE float real_abs(float x) { return fabsf(x); }
REGARD_DEVICE float real_exp(float x) { return expf(x); }
REGARD_DEVICE float real_exp2(float x) { return exp2f(x); }
REGARD_DEVICE float real_log(float x) { return logf(x); }
REGARD_DEVICE float real_tanh(float x) {
  return 1.0f - 2.0f * reciprocal_fast(exp2_fast(x * 2.8853900817779268f) + 1.0f);
}
REGARD_DEVICE float real_sigmoid(float x) {
  return reciprocal_fast(exp2_fast(x * -1.4426950408889634f) + 1.0f);
}
REGARD_DEVICE float real_sqrt(float x) { return sqrtf(x); }
REGARD_DEVICE float real_floor(float x) { return floorf(x); }
REGARD_DEVICE float real_modulo(float x, float y) { return fmodf(x, y); }
REGARD_DEVICE float real_pow(float x, float y) { return powf(x, y); }

REGARD_DEVICE float infinity() { return __int_as_float(0x7F800000); }

}  // namespace regard::gpu
