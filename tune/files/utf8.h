// Whether bytes are UTF-8: configurations, data rows and names in model files must be.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace tune {

// Byte position of the first sequence that is not UTF-8, or none. RFC 3629: no overlong forms, no
// surrogates, nothing above U+10FFFF.
std::optional<size_t> find_invalid_utf8(std::string_view text);

inline bool is_utf8(std::string_view text) { return !find_invalid_utf8(text); }

}  // namespace tune
