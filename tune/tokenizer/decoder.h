// Decoder: from the texts of tokens back to plain text (the "decoder" of a tokenizer.json).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tune/tokenizer/json_node.h"

namespace tune {

class Decoder {
 public:
  virtual ~Decoder() = default;
  // Steps work on the list of tokens; what is left at the end is joined without a space.
  virtual void apply(std::vector<std::string>& tokens) const = 0;
};

// Null for a null node. Throws UsageError for a type that is not supported, with the list.
std::unique_ptr<const Decoder> make_decoder(const JsonNode& node);

}  // namespace tune
