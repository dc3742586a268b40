// PreTokenizer: cuts text into the words that byte-pair encoding never crosses.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tune/tokenizer/json_node.h"

namespace tune {

// A range of bytes of Pieces::text.
struct Piece {
  size_t begin = 0, end = 0;
  bool at_text_start = false;  // begins where the text given to encode() begins
};

// A text and its words so far; steps that rewrite words write a new text.
struct Pieces {
  std::string text;
  std::vector<Piece> pieces;
  std::string_view view(const Piece& piece) const {
    return std::string_view(text).substr(piece.begin, piece.end - piece.begin);
  }
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(Pieces& pieces) const = 0;
};

// Null for a null node. Throws UsageError for a type that is not supported, with the list.
std::unique_ptr<const PreTokenizer> make_pre_tokenizer(const JsonNode& node);

}  // namespace tune
