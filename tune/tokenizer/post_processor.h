// PostProcessor: the ids that add_special_tokens puts around a text.
#pragma once

#include <cstdint>
#include <vector>

#include "tune/tokenizer/json_node.h"

namespace tune {

// All post-processors of one text come down to ids in front and ids behind.
struct PostProcessor {
  std::vector<int32_t> before, after;
};

// Nothing for a null node. Throws UsageError for a type that is not supported, with the list.
PostProcessor make_post_processor(const JsonNode& node);

}  // namespace tune
