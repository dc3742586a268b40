// Whether bytes are UTF-8: names in model files must be.
#pragma once

#include <string_view>

namespace tune {

// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text);

}  // namespace tune
