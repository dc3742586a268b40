// How a pre-tokenizer cuts at the matches of a pattern.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "tune/tokenizer/json_node.h"
#include "tune/tokenizer/pattern.h"
#include "tune/tokenizer/pre_tokenizer.h"

namespace tune {

enum class SplitBehavior {
  removed,               // matches are dropped
  isolated,              // every match is a word of its own
  merged_with_previous,  // a match ends the word before it
  merged_with_next,      // a match begins the word behind it
  contiguous,            // neighbouring matches are one word
};
SplitBehavior make_split_behavior(const JsonNode& node);

// A part of a piece, offsets within the piece; the parts of a piece follow each other without gaps.
struct Part {
  size_t begin = 0, end = 0;
  bool is_match = false;
};

// The matches and what lies between them; `inverted` swaps the two.
void parts_of_matches(const std::vector<Span>& matches, size_t text_size, bool inverted,
                      std::vector<Part>& out);

// Appends the words that `parts` of `piece` make to `out`; empty ones are dropped.
void append_split(const Piece& piece, const std::vector<Part>& parts, SplitBehavior behavior,
                  std::vector<Piece>& out);

}  // namespace tune
