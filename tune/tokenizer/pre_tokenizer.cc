#include "tune/tokenizer/pre_tokenizer.h"

#include <utility>

#include "tune/tokenizer/byte_alphabet.h"
#include "tune/tokenizer/normalizer.h"
#include "tune/tokenizer/split.h"
#include "tune/tokenizer/unicode.h"

namespace tune {
namespace {

constexpr std::string_view kSupported =
    "ByteLevel, Split, Digits, Metaspace, Whitespace, WhitespaceSplit, Punctuation, "
    "CharDelimiterSplit, Sequence";

// GPT-2's words (Radford et al. 2019, encoder.py): contractions, then letters, digits or other
// signs with at most one space in front, then white space up to the last before a word.
constexpr const char* kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// `\w+|[^\w\s]+` with the word characters of Unicode Technical Standard 18, annex C.
constexpr const char* kWordsAndSigns = R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}]+|)"
                                       R"([^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}\s]+)";

class PatternSplit : public PreTokenizer {
 public:
  PatternSplit(Pattern pattern, SplitBehavior behavior, bool inverted)
      : pattern_(std::move(pattern)), behavior_(behavior), inverted_(inverted) {}

  void apply(Pieces& pieces) const override {
    std::vector<Piece> out;
    std::vector<Span> matches;
    std::vector<Part> parts;
    for (const Piece& piece : pieces.pieces) {
      pattern_.find_all(pieces.view(piece), matches);
      parts_of_matches(matches, piece.end - piece.begin, inverted_, parts);
      append_split(piece, parts, behavior_, out);
    }
    pieces.pieces = std::move(out);
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool inverted_;
};

// Cuts where single characters of a class stand.
class CharacterSplit : public PreTokenizer {
 public:
  using Predicate = bool (*)(char32_t);
  CharacterSplit(Predicate matches, SplitBehavior behavior)
      : matches_(matches), behavior_(behavior) {}

  void apply(Pieces& pieces) const override {
    std::vector<Piece> out;
    std::vector<Span> matches;
    std::vector<Part> parts;
    for (const Piece& piece : pieces.pieces) {
      const std::string_view text = pieces.view(piece);
      matches.clear();
      for (size_t pos = 0; pos < text.size();) {
        const size_t begin = pos;
        if (matches_(next_character(text, pos))) matches.push_back({begin, pos});
      }
      parts_of_matches(matches, text.size(), false, parts);
      append_split(piece, parts, behavior_, out);
    }
    pieces.pieces = std::move(out);
  }

 private:
  Predicate matches_;
  SplitBehavior behavior_;
};

class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex) : add_prefix_space_(add_prefix_space) {
    if (use_regex) {
      words_ = std::make_unique<PatternSplit>(Pattern::regex(kGpt2Words), SplitBehavior::isolated,
                                              false);
    }
  }

  void apply(Pieces& pieces) const override {
    if (add_prefix_space_) add_spaces(pieces);
    if (words_) words_->apply(pieces);
    std::string text;
    text.reserve(pieces.text.size() * 5 / 4);
    for (Piece& piece : pieces.pieces) {
      const size_t begin = text.size();
      for (const char byte : pieces.view(piece)) {
        append_byte_as_alphabet(text, static_cast<unsigned char>(byte));
      }
      piece.begin = begin;
      piece.end = text.size();
    }
    pieces.text = std::move(text);
  }

 private:
  static void add_spaces(Pieces& pieces) {
    std::string text;
    for (Piece& piece : pieces.pieces) {
      const std::string_view word = pieces.view(piece);
      const size_t begin = text.size();
      if (!word.starts_with(' ')) text.push_back(' ');
      text.append(word);
      piece.begin = begin;
      piece.end = text.size();
    }
    pieces.text = std::move(text);
  }

  bool add_prefix_space_;
  std::unique_ptr<const PatternSplit> words_;
};

// SentencePiece's visible spaces: every space becomes the replacement, a word begins with it.
class Metaspace : public PreTokenizer {
 public:
  enum class Prepend { always, first, never };
  Metaspace(std::string replacement, Prepend prepend, bool splits)
      : replacement_(std::move(replacement)), prepend_(prepend), splits_(splits) {}

  void apply(Pieces& pieces) const override {
    std::string text;
    std::vector<Piece> out;
    std::vector<Part> parts;
    const Pattern spaces = Pattern::literal(replacement_);
    for (const Piece& piece : pieces.pieces) {
      const size_t begin = text.size();
      append_word(pieces.view(piece), piece.at_text_start, text);
      const Piece whole{begin, text.size(), piece.at_text_start};
      if (!splits_) {
        if (whole.end > whole.begin) out.push_back(whole);
        continue;
      }
      parts_of_matches(spaces.find_all(std::string_view(text).substr(begin)), whole.end - begin,
                       false, parts);
      append_split(whole, parts, SplitBehavior::merged_with_next, out);
    }
    pieces.text = std::move(text);
    pieces.pieces = std::move(out);
  }

 private:
  void append_word(std::string_view word, bool at_text_start, std::string& text) const {
    const bool has_one = word.starts_with(' ') || word.starts_with(replacement_);
    const bool wants_one =
        prepend_ == Prepend::always || (prepend_ == Prepend::first && at_text_start);
    if (wants_one && !has_one) text.append(replacement_);
    for (const char c : word) {
      if (c == ' ') {
        text.append(replacement_);
      } else {
        text.push_back(c);
      }
    }
  }

  std::string replacement_;
  Prepend prepend_;
  bool splits_;
};

class PreTokenizerSequence : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(std::vector<std::unique_ptr<const PreTokenizer>> steps)
      : steps_(std::move(steps)) {}
  void apply(Pieces& pieces) const override {
    for (const auto& step : steps_) step->apply(pieces);
  }

 private:
  std::vector<std::unique_ptr<const PreTokenizer>> steps_;
};

std::unique_ptr<const PreTokenizer> make_metaspace(const JsonNode& node) {
  using Prepend = Metaspace::Prepend;
  const std::string replacement =
      node.has("replacement") ? node.text("replacement") : "\xE2\x96\x81";
  // Files older than prepend_scheme say add_prefix_space.
  Prepend prepend = node.flag("add_prefix_space", true) ? Prepend::always : Prepend::never;
  if (node.has("prepend_scheme")) {
    const std::string scheme = node.text("prepend_scheme");
    if (scheme != "always" && scheme != "first" && scheme != "never") {
      node.child("prepend_scheme")
          .fail("'" + scheme + "' is unknown; allowed are always, first, never");
    }
    prepend = scheme == "always"  ? Prepend::always
              : scheme == "first" ? Prepend::first
                                  : Prepend::never;
  }
  return std::make_unique<Metaspace>(replacement, prepend, node.flag("split", true));
}

std::unique_ptr<const PreTokenizer> make_sequence(const JsonNode& node) {
  std::vector<std::unique_ptr<const PreTokenizer>> steps;
  for (const JsonNode& item : node.child("pretokenizers").items()) {
    if (item.is_null()) item.fail("must be an object with 'type'");
    steps.push_back(make_pre_tokenizer(item));
  }
  return std::make_unique<PreTokenizerSequence>(std::move(steps));
}

}  // namespace

std::unique_ptr<const PreTokenizer> make_pre_tokenizer(const JsonNode& node) {
  if (node.is_null()) return nullptr;
  const std::string type = node.type();
  if (type == "ByteLevel") {
    return std::make_unique<ByteLevel>(node.flag("add_prefix_space", true),
                                       node.flag("use_regex", true));
  }
  if (type == "Split") {
    return std::make_unique<PatternSplit>(make_pattern(node.child("pattern")),
                                          make_split_behavior(node.child("behavior")),
                                          node.flag("invert", false));
  }
  if (type == "Digits") {
    return std::make_unique<CharacterSplit>(is_numeric, node.flag("individual_digits", false)
                                                            ? SplitBehavior::isolated
                                                            : SplitBehavior::contiguous);
  }
  if (type == "Punctuation") {
    return std::make_unique<CharacterSplit>(
        is_punctuation, node.has("behavior") ? make_split_behavior(node.child("behavior"))
                                             : SplitBehavior::isolated);
  }
  if (type == "Metaspace") return make_metaspace(node);
  if (type == "Whitespace") {
    return std::make_unique<PatternSplit>(Pattern::regex(kWordsAndSigns), SplitBehavior::removed,
                                          true);
  }
  if (type == "WhitespaceSplit") {
    return std::make_unique<CharacterSplit>(is_whitespace, SplitBehavior::removed);
  }
  if (type == "CharDelimiterSplit") {
    return std::make_unique<PatternSplit>(Pattern::literal(node.text("delimiter")),
                                          SplitBehavior::removed, false);
  }
  if (type == "Sequence") return make_sequence(node);
  node.unsupported(type, kSupported);
}

}  // namespace tune
