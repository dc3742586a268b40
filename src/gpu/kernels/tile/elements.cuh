// Elements of operands of any format, as f32.
#pragma once

#include "attn_config.h"
#include "platform.cuh"

namespace regard::gpu {

// Of 16 bytes.
template <Element kElement>
inline constexpr int kElementsOfPiece = kElement == Element::f32 ? 4 : 8;

// Where element `element` of an operand lies.
template <Element kElement>
REGARD_DEVICE const unsigned short* element_at(const unsigned short* data, long long element) {
  return data + (kElement == Element::f32 ? 2 : 1) * element;
}

template <Element kElement>
REGARD_DEVICE float load_element(const unsigned short* data, long long element) {
  const unsigned short* from = element_at<kElement>(data, element);
  if constexpr (kElement == Element::f32) {
    return load_global(reinterpret_cast<const float*>(from));
  } else {
    return f32_from_bits<kElement == Element::bf16>(load_global(from));
  }
}

template <Element kElement>
REGARD_DEVICE float element_of_piece(const Piece& piece, int index) {
  if constexpr (kElement == Element::f32) {
    return f32_from_word(piece.word[index]);
  } else {
    return f32_from_bits<kElement == Element::bf16>(piece.word[index / 2] >> index % 2 * 16 &
                                                    0xFFFFu);
  }
}

}  // namespace regard::gpu
