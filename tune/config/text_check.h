// Is a file text at all? Asked before YAML is, so that a picture or an archive in place of a
// configuration gets a sentence of its own.
#pragma once

#include <optional>
#include <string_view>

#include "tune/config/yaml_tree.h"

namespace tune {

// The first byte that is not UTF-8, or a control character that no text file has (NUL among them).
std::optional<YamlFault> find_text_fault(std::string_view text);

// `text` without the UTF-8 byte order mark some editors write.
std::string_view skip_byte_order_mark(std::string_view text);

}  // namespace tune
