// 2^x as exactly as operands of a format deserve.
#pragma once

#include "attn_config.h"
#include "platform.cuh"

namespace regard::gpu {

// Within an ulp. Below 2^-126: 0.
REGARD_DEVICE float exp2_accurate(float x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: the sum's last bits are the integer
  const float bounded = x > 128.0f ? 128.0f : x > -127.0f ? x : -127.0f;
  const float whole = (bounded + kMagic) - kMagic, rest = x - whole;
  float sum = 1.52527338e-5f;  // Taylor in rest * ln 2; |rest| <= 1/2: 5e-9 are left out
  sum = sum * rest + 1.54035304e-4f;
  sum = sum * rest + 1.33335581e-3f;
  sum = sum * rest + 9.61812911e-3f;
  sum = sum * rest + 5.55041087e-2f;
  sum = sum * rest + 2.40226507e-1f;
  sum = sum * rest + 6.93147181e-1f;
  sum = sum * rest + 1.0f;
  const auto exponent = static_cast<unsigned>(static_cast<int>(whole) + 127);
  return x < -126.0f ? 0.0f : sum * f32_from_word(exponent << 23);
}

// Scores of 16-bit operands err by more than exp2_fast's 2^-22; those of f32 do not.
template <Element kElement>
REGARD_DEVICE float exp2_of(float x) {
  if constexpr (kElement == Element::f32) {
    return exp2_accurate(x);
  } else {
    return exp2_fast(x);
  }
}

}  // namespace regard::gpu
