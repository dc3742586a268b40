#include "tune/tokenizer/decoder.h"

#include <optional>
#include <string_view>
#include <utility>

#include "tune/tokenizer/byte_alphabet.h"
#include "tune/tokenizer/normalizer.h"
#include "tune/tokenizer/unicode.h"

namespace tune {
namespace {

constexpr std::string_view kSupported =
    "ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace, Sequence";

void join(std::vector<std::string>& tokens) {
  std::string text;
  for (const std::string& token : tokens) text.append(token);
  tokens.clear();
  tokens.push_back(std::move(text));
}

class ByteLevelDecoder : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::string bytes;
    for (const std::string& token : tokens) append_alphabet_as_bytes(bytes, token);
    tokens.assign(1, to_valid_utf8(bytes));
  }
};

// A run of <0x..> tokens becomes its characters, or one U+FFFD a byte where it is not UTF-8.
class ByteFallback : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::vector<std::string> out;
    std::string bytes;
    for (std::string& token : tokens) {
      if (const auto byte = byte_of(token)) {
        bytes.push_back(*byte);
        continue;
      }
      flush(bytes, out);
      out.push_back(std::move(token));
    }
    flush(bytes, out);
    tokens = std::move(out);
  }

 private:
  static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
  }
  static std::optional<char> byte_of(const std::string& token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
    const int high = hex_digit(token[3]), low = hex_digit(token[4]);
    if (high < 0 || low < 0) return std::nullopt;
    return static_cast<char>(high << 4 | low);
  }
  static void flush(std::string& bytes, std::vector<std::string>& out) {
    if (bytes.empty()) return;
    if (is_valid_utf8(bytes)) {
      out.push_back(bytes);
    } else {
      std::string replaced;
      for (size_t i = 0; i < bytes.size(); ++i) append_character(replaced, kReplacementCharacter);
      out.push_back(std::move(replaced));
    }
    bytes.clear();
  }
};

class Fuse : public Decoder {
 public:
  void apply(std::vector<std::string>& tokens) const override { join(tokens); }
};

// Removes up to `start` leading and `stop` trailing times `content` from every token.
class StripDecoder : public Decoder {
 public:
  StripDecoder(std::string content, int64_t start, int64_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      std::string_view text = token;
      for (int64_t i = 0; i < start_ && text.starts_with(content_); ++i) {
        text.remove_prefix(content_.size());
      }
      for (int64_t i = 0; i < stop_ && text.ends_with(content_); ++i) {
        text.remove_suffix(content_.size());
      }
      token = std::string(text);
    }
  }

 private:
  std::string content_;
  int64_t start_, stop_;
};

class ReplaceDecoder : public Decoder {
 public:
  ReplaceDecoder(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) token = replace_all(token, pattern_, content_);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class MetaspaceDecoder : public Decoder {
 public:
  MetaspaceDecoder(std::string replacement, bool drops_first)
      : replacement_(Pattern::literal(std::move(replacement))), drops_first_(drops_first) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = replace_all(tokens[i], replacement_, i == 0 && drops_first_ ? "" : " ");
    }
  }

 private:
  Pattern replacement_;
  bool drops_first_;
};

class DecoderSequence : public Decoder {
 public:
  explicit DecoderSequence(std::vector<std::unique_ptr<const Decoder>> steps)
      : steps_(std::move(steps)) {}
  void apply(std::vector<std::string>& tokens) const override {
    for (const auto& step : steps_) step->apply(tokens);
  }

 private:
  std::vector<std::unique_ptr<const Decoder>> steps_;
};

std::unique_ptr<const Decoder> make_metaspace_decoder(const JsonNode& node) {
  bool drops_first = node.flag("add_prefix_space", true);
  if (node.has("prepend_scheme")) drops_first = node.text("prepend_scheme") != "never";
  return std::make_unique<MetaspaceDecoder>(
      node.has("replacement") ? node.text("replacement") : "\xE2\x96\x81", drops_first);
}

std::unique_ptr<const Decoder> make_strip(const JsonNode& node) {
  const std::string content = node.text("content");
  if (content.empty()) node.child("content").fail("must be one character");
  return std::make_unique<StripDecoder>(content, node.integer("start", 0), node.integer("stop", 0));
}

std::unique_ptr<const Decoder> make_sequence(const JsonNode& node) {
  std::vector<std::unique_ptr<const Decoder>> steps;
  for (const JsonNode& item : node.child("decoders").items()) {
    if (item.is_null()) item.fail("must be an object with 'type'");
    steps.push_back(make_decoder(item));
  }
  return std::make_unique<DecoderSequence>(std::move(steps));
}

}  // namespace

std::unique_ptr<const Decoder> make_decoder(const JsonNode& node) {
  if (node.is_null()) return nullptr;
  const std::string type = node.type();
  if (type == "ByteLevel") return std::make_unique<ByteLevelDecoder>();
  if (type == "ByteFallback") return std::make_unique<ByteFallback>();
  if (type == "Fuse") return std::make_unique<Fuse>();
  if (type == "Strip") return make_strip(node);
  if (type == "Replace") {
    return std::make_unique<ReplaceDecoder>(make_pattern(node.child("pattern")),
                                            node.text("content"));
  }
  if (type == "Metaspace") return make_metaspace_decoder(node);
  if (type == "Sequence") return make_sequence(node);
  node.unsupported(type, kSupported);
}

}  // namespace tune
