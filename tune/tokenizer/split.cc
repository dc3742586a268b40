#include "tune/tokenizer/split.h"

#include <algorithm>

namespace tune {
namespace {

void append_part(const Piece& piece, size_t begin, size_t end, std::vector<Piece>& out) {
  if (begin == end) return;
  out.push_back({piece.begin + begin, piece.begin + end, piece.at_text_start && begin == 0});
}

// Of several matches in a row only the first joins the word before it.
void append_merged_with_previous(const Piece& piece, const std::vector<Part>& parts,
                                 std::vector<Piece>& out) {
  std::vector<Part> words;
  bool previous_matched = false;
  for (const Part& part : parts) {
    if (part.is_match && !previous_matched && !words.empty()) {
      words.back().end = part.end;
    } else {
      words.push_back(part);
    }
    previous_matched = part.is_match;
  }
  for (const Part& word : words) append_part(piece, word.begin, word.end, out);
}

// The mirror image: from the right, the first match of a row joins the word behind it.
void append_merged_with_next(const Piece& piece, const std::vector<Part>& parts,
                             std::vector<Piece>& out) {
  std::vector<Part> words;
  bool previous_matched = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->is_match && !previous_matched && !words.empty()) {
      words.back().begin = part->begin;
    } else {
      words.push_back(*part);
    }
    previous_matched = part->is_match;
  }
  for (auto word = words.rbegin(); word != words.rend(); ++word) {
    append_part(piece, word->begin, word->end, out);
  }
}

void append_contiguous(const Piece& piece, const std::vector<Part>& parts,
                       std::vector<Piece>& out) {
  for (size_t i = 0; i < parts.size();) {
    size_t last = i;
    while (last + 1 < parts.size() && parts[last + 1].is_match == parts[i].is_match) ++last;
    append_part(piece, parts[i].begin, parts[last].end, out);
    i = last + 1;
  }
}

}  // namespace

SplitBehavior make_split_behavior(const JsonNode& node) {
  const std::string name = node.text();
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  node.fail("'" + name +
            "' is no behavior; allowed are Removed, Isolated, MergedWithPrevious, MergedWithNext, "
            "Contiguous");
}

void parts_of_matches(const std::vector<Span>& matches, size_t text_size, bool inverted,
                      std::vector<Part>& out) {
  out.clear();
  size_t pos = 0;
  for (const Span& match : matches) {
    if (match.begin > pos) out.push_back({pos, match.begin, inverted});
    out.push_back({match.begin, match.end, !inverted});
    pos = match.end;
  }
  if (pos < text_size) out.push_back({pos, text_size, inverted});
}

void append_split(const Piece& piece, const std::vector<Part>& parts, SplitBehavior behavior,
                  std::vector<Piece>& out) {
  switch (behavior) {
    case SplitBehavior::merged_with_previous:
      return append_merged_with_previous(piece, parts, out);
    case SplitBehavior::merged_with_next:
      return append_merged_with_next(piece, parts, out);
    case SplitBehavior::contiguous:
      return append_contiguous(piece, parts, out);
    case SplitBehavior::removed:
    case SplitBehavior::isolated:
      for (const Part& part : parts) {
        if (part.is_match && behavior == SplitBehavior::removed) continue;
        append_part(piece, part.begin, part.end, out);
      }
  }
}

}  // namespace tune
