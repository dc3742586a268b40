#include "tune/tokenizer/normalizer.h"

#include <utility>
#include <vector>

#include "tune/error.h"
#include "tune/tokenizer/unicode.h"

namespace tune {
namespace {

constexpr std::string_view kSupported =
    "NFC, NFD, NFKC, NFKD, Lowercase, Replace, Prepend, Strip, Sequence";

class ToNormalForm : public Normalizer {
 public:
  explicit ToNormalForm(NormalForm form) : form_(form) {}
  void apply(std::string& text) const override { text = normalize_text(text, form_); }

 private:
  NormalForm form_;
};

class Lowercase : public Normalizer {
 public:
  void apply(std::string& text) const override { text = lower_case(text); }
};

class Replace : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::string& text) const override { text = replace_all(text, pattern_, content_); }

 private:
  Pattern pattern_;
  std::string content_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string content) : content_(std::move(content)) {}
  void apply(std::string& text) const override {
    if (!text.empty()) text.insert(0, content_);
  }

 private:
  std::string content_;
};

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void apply(std::string& text) const override {
    size_t begin = 0, end = text.size();
    while (left_ && begin < end) {
      size_t pos = begin;
      if (!is_whitespace(next_character(text, pos))) break;
      begin = pos;
    }
    while (right_ && end > begin) {
      size_t pos = end;
      if (!is_whitespace(previous_character(text, pos))) break;
      end = pos;
    }
    text = text.substr(begin, end - begin);
  }

 private:
  bool left_, right_;
};

class NormalizerSequence : public Normalizer {
 public:
  explicit NormalizerSequence(std::vector<std::unique_ptr<const Normalizer>> steps)
      : steps_(std::move(steps)) {}
  void apply(std::string& text) const override {
    for (const auto& step : steps_) step->apply(text);
  }

 private:
  std::vector<std::unique_ptr<const Normalizer>> steps_;
};

}  // namespace

Pattern make_pattern(const JsonNode& node) {
  if (node.value().is_string()) return Pattern::literal(node.text());
  if (node.has("String")) return Pattern::literal(node.text("String"));
  if (node.has("Regex")) {
    try {
      return Pattern::regex(node.text("Regex"));
    } catch (const UsageError& error) {
      node.fail(error.what());
    }
  }
  node.fail("must be {\"String\": ...} or {\"Regex\": ...}");
}

std::string replace_all(const std::string& text, const Pattern& pattern,
                        const std::string& content) {
  const std::vector<Span> matches = pattern.find_all(text);
  if (matches.empty()) return text;
  std::string out;
  out.reserve(text.size() + matches.size() * content.size());
  size_t pos = 0;
  for (const Span& match : matches) {
    out.append(text, pos, match.begin - pos).append(content);
    pos = match.end;
  }
  return out.append(text, pos);
}

std::unique_ptr<const Normalizer> make_normalizer(const JsonNode& node) {
  if (node.is_null()) return nullptr;
  const std::string type = node.type();
  if (type == "NFC") return std::make_unique<ToNormalForm>(NormalForm::nfc);
  if (type == "NFD") return std::make_unique<ToNormalForm>(NormalForm::nfd);
  if (type == "NFKC") return std::make_unique<ToNormalForm>(NormalForm::nfkc);
  if (type == "NFKD") return std::make_unique<ToNormalForm>(NormalForm::nfkd);
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "Prepend") return std::make_unique<Prepend>(node.text("prepend"));
  if (type == "Replace") {
    return std::make_unique<Replace>(make_pattern(node.child("pattern")), node.text("content"));
  }
  if (type == "Strip") {
    return std::make_unique<Strip>(node.flag("strip_left", true), node.flag("strip_right", true));
  }
  if (type == "Sequence") {
    std::vector<std::unique_ptr<const Normalizer>> steps;
    for (const JsonNode& item : node.child("normalizers").items()) {
      if (item.is_null()) item.fail("must be an object with 'type'");
      steps.push_back(make_normalizer(item));
    }
    return std::make_unique<NormalizerSequence>(std::move(steps));
  }
  node.unsupported(type, kSupported);
}

}  // namespace tune
