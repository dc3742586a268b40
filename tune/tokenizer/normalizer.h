// Normalizer: rewrites text before it is cut into words (the "normalizer" of a tokenizer.json).
#pragma once

#include <memory>
#include <string>

#include "tune/tokenizer/json_node.h"
#include "tune/tokenizer/pattern.h"

namespace tune {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(std::string& text) const = 0;
};

// Null for a null node. Throws UsageError for a type that is not supported, with the list.
std::unique_ptr<const Normalizer> make_normalizer(const JsonNode& node);

// {"String": "..."}, {"Regex": "..."} or a bare string.
Pattern make_pattern(const JsonNode& node);
// The replacement of every match of `pattern` in `text`, taken literally.
std::string replace_all(const std::string& text, const Pattern& pattern,
                        const std::string& content);

}  // namespace tune
