// The primitives of platform.cuh on the emulator: same names, same meaning, one warp collective at
// a time, and every access to memory checked.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "core/dtype.h"
#include "tests/gpu/emulator/emulator.h"

#define REGARD_DEVICE inline
#define REGARD_UNROLL
#define REGARD_UNROLL_1
#define REGARD_UNROLL_2

namespace regard::gpu {

namespace emulated = ::regard::testing::emulated;

inline int thread_in_block() { return emulated::position().thread; }
inline int block_x() { return emulated::position().block_x; }
inline int block_y() { return emulated::position().block_y; }
inline int block_z() { return emulated::position().block_z; }
inline int num_blocks_x() { return emulated::position().num_blocks_x; }
inline void block_barrier() { emulated::barrier(); }
// Launches run one after the other.
inline void let_next_kernel_begin() {}
inline void await_earlier_kernels() {}
inline void warp_pair_barrier() { emulated::pair_barrier(); }

template <typename T>
struct Shuffle {
  T value;
  int mask;
  T result;
};
template <typename T>
T shuffle_xor(T value, int mask) {
  Shuffle<T> slot{value, mask, T{}};
  emulated::collect("shuffle_xor", &slot, [](void* const* slots) {
    for (int lane = 0; lane < 32; ++lane) {
      auto* self = static_cast<Shuffle<T>*>(slots[lane]);
      self->result = static_cast<const Shuffle<T>*>(slots[lane ^ self->mask])->value;
    }
  });
  return slot.result;
}

struct Vote {
  bool condition, result;
};
inline bool any_lane(bool condition) {
  Vote slot{condition, false};
  emulated::collect("any_lane", &slot, [](void* const* slots) {
    const bool any = std::any_of(slots, slots + 32, [](const void* voter) {
      return static_cast<const Vote*>(voter)->condition;
    });
    for (int lane = 0; lane < 32; ++lane) {
      static_cast<Vote*>(slots[lane])->result = any;
    }
  });
  return slot.result;
}

inline int warp_in_block() { return thread_in_block() / 32; }

struct alignas(16) Piece {
  unsigned word[4];
};

template <typename T>
T load_global(const T* from) {
  return emulated::may_load_global(from, sizeof(T)) ? *from : T{};
}
template <typename T>
void store_global(T* to, T value) {
  if (emulated::may_store_global(to, sizeof(T))) {
    std::memcpy(to, &value, sizeof(T));
  }
}
inline Piece load_global_piece(const unsigned short* from) {
  Piece piece{};
  if (emulated::may_load_global(from, sizeof(Piece))) {
    std::memcpy(&piece, from, sizeof(Piece));
  }
  return piece;
}
inline void store_global_piece(unsigned short* to, const Piece& piece) {
  if (emulated::may_store_global(to, sizeof(Piece))) {
    std::memcpy(to, &piece, sizeof(Piece));
  }
}
inline void add_global(float* to, float value) {
  if (emulated::may_store_global(to, sizeof(float))) {
    *to += value;
  }
}
inline void add_global(float* to, const float (&values)[4]) {
  if (emulated::may_store_global(to, sizeof(values))) {
    for (int i = 0; i < 4; ++i) {
      to[i] += values[i];
    }
  }
}
template <typename T>
T load_shared(const T* from) {
  return emulated::may_load_shared(from, sizeof(T)) ? *from : T{};
}
inline void add_global(unsigned long long* to, unsigned long long value) {
  if (emulated::may_store_global(to, sizeof(value))) {
    *to += value;
  }
}
inline void max_global(unsigned* to, unsigned value) {
  if (emulated::may_store_global(to, sizeof(value))) {
    *to = *to > value ? *to : value;
  }
}
template <typename T>
void store_shared(T* to, std::type_identity_t<T> value) {
  if (emulated::may_store_shared(to, sizeof(T))) {
    std::memcpy(to, &value, sizeof(T));
  }
}
inline void store_shared_piece(unsigned short* to, const Piece& piece) {
  if (emulated::may_store_shared(to, sizeof(Piece))) {
    std::memcpy(to, &piece, sizeof(Piece));
  }
}

template <int kFetchBytes = 0>
void async_copy_piece(unsigned short* to, const unsigned short* from, bool is_inside) {
  emulated::async_copy(to, is_inside ? from : nullptr, sizeof(Piece));
}
inline void async_commit() { emulated::async_commit(); }
template <int kPending>
void async_wait() {
  emulated::async_wait(kPending);
}

struct FragmentLoad {
  unsigned (*to)[4];
  const unsigned short* row;  // null where it may not be read
  unsigned element(int index) const { return row == nullptr ? 0x7FFFu : row[index]; }
};
inline void load_fragments(unsigned (&to)[4], const unsigned short* row) {
  FragmentLoad slot{&to, emulated::may_load_shared(row, 16) ? row : nullptr};
  emulated::collect("load_fragments", &slot, [](void* const* slots) {
    for (int lane = 0; lane < 32; ++lane) {
      for (int matrix = 0; matrix < 4; ++matrix) {
        const auto& from = *static_cast<const FragmentLoad*>(slots[matrix * 8 + lane / 4]);
        const int col = lane % 4 * 2;
        (*static_cast<FragmentLoad*>(slots[lane])->to)[matrix] =
            from.element(col) | from.element(col + 1) << 16;
      }
    }
  });
}
inline void load_fragments_transposed(unsigned (&to)[4], const unsigned short* row) {
  FragmentLoad slot{&to, emulated::may_load_shared(row, 16) ? row : nullptr};
  emulated::collect("load_fragments_transposed", &slot, [](void* const* slots) {
    for (int lane = 0; lane < 32; ++lane) {
      for (int matrix = 0; matrix < 4; ++matrix) {
        const int first = matrix * 8 + lane % 4 * 2;
        (*static_cast<FragmentLoad*>(slots[lane])->to)[matrix] =
            static_cast<const FragmentLoad*>(slots[first])->element(lane / 4) |
            static_cast<const FragmentLoad*>(slots[first + 1])->element(lane / 4) << 16;
      }
    }
  });
}

inline float f32_from_word(unsigned bits) { return core::float_of(bits); }
inline unsigned word_from_f32(float value) { return core::bits_of(value); }
template <bool kIsBf16>
float f32_from_bits(unsigned bits) {
  const auto element = static_cast<uint16_t>(bits);
  return kIsBf16 ? core::f32_from_bf16(element) : core::f32_from_f16(element);
}
template <bool kIsBf16>
unsigned pack(float low, float high) {
  return kIsBf16 ? core::bf16_from_f32(low) | unsigned{core::bf16_from_f32(high)} << 16
                 : core::f16_from_f32(low) | unsigned{core::f16_from_f32(high)} << 16;
}

struct MatrixOperands {
  float (*c)[4];
  const unsigned (*a)[4];
  unsigned b[2];
};
template <bool kIsBf16, bool kHasDepth16>
void matrix_product(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  MatrixOperands slot{&c, &a, {b0, b1}};
  emulated::collect("matrix_product", &slot, [](void* const* slots) {
    float left[16][16], right[16][8];
    for (int lane = 0; lane < 32; ++lane) {
      const auto& from = *static_cast<const MatrixOperands*>(slots[lane]);
      const int row = lane / 4, col = lane % 4 * 2;
      for (int half = 0; half < 2; ++half) {  // the element in the lower, the upper 16 bits
        for (int i = 0; i < 4; ++i) {
          left[row + i % 2 * 8][col + i / 2 * 8 + half] =
              f32_from_bits<kIsBf16>((*from.a)[i] >> 16 * half);
        }
        for (int i = 0; i < 2; ++i) {
          right[col + i * 8 + half][row] = f32_from_bits<kIsBf16>(from.b[i] >> 16 * half);
        }
      }
    }
    for (int lane = 0; lane < 32; ++lane) {
      auto& sums = *static_cast<MatrixOperands*>(slots[lane])->c;
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + i / 2 * 8, col = lane % 4 * 2 + i % 2;
        for (int depth = 0; depth < 16; ++depth) {
          sums[i] += left[row][depth] * right[depth][col];
        }
      }
    }
  });
}

struct Int8MatrixOperands {
  int (*c)[4];
  const unsigned (*a)[4];
  unsigned b[2];
};
inline void matrix_product_int8(int (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  Int8MatrixOperands slot{&c, &a, {b0, b1}};
  emulated::collect("matrix_product_int8", &slot, [](void* const* slots) {
    int left[16][32], right[32][8];
    for (int lane = 0; lane < 32; ++lane) {
      const auto& from = *static_cast<const Int8MatrixOperands*>(slots[lane]);
      const int row = lane / 4, col = lane % 4 * 4;
      for (int byte = 0; byte < 4; ++byte) {
        for (int i = 0; i < 4; ++i) {
          left[row + i % 2 * 8][col + i / 2 * 16 + byte] =
              static_cast<int8_t>((*from.a)[i] >> 8 * byte);
        }
        for (int i = 0; i < 2; ++i) {
          right[col + i * 16 + byte][row] = static_cast<int8_t>(from.b[i] >> 8 * byte);
        }
      }
    }
    for (int lane = 0; lane < 32; ++lane) {
      auto& sums = *static_cast<Int8MatrixOperands*>(slots[lane])->c;
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + i / 2 * 8, col = lane % 4 * 2 + i % 2;
        for (int depth = 0; depth < 32; ++depth) {
          sums[i] += left[row][depth] * right[depth][col];
        }
      }
    }
  });
}

inline float exp2_fast(float x) { return std::exp2(x); }
inline float log2_fast(float x) { return std::log2(x); }
inline float reciprocal_fast(float x) { return 1.0f / x; }
inline float maximum(float a, float b) { return std::fmax(a, b); }
inline float rounded_product(float x, float y) { return x * y; }
inline float quotient_fast(float x, float y) { return x / y; }
inline float real_abs(float x) { return std::fabs(x); }
inline float real_exp(float x) { return std::exp(x); }
inline float real_exp2(float x) { return std::exp2(x); }
inline float real_log(float x) { return std::log(x); }
inline float real_tanh(float x) { return std::tanh(x); }
inline float real_sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
inline float real_sqrt(float x) { return std::sqrt(x); }
inline float real_floor(float x) { return std::floor(x); }
inline float real_modulo(float x, float y) { return std::fmod(x, y); }
inline float real_pow(float x, float y) { return std::pow(x, y); }
inline float infinity() { return std::numeric_limits<float>::infinity(); }

}  // namespace regard::gpu
