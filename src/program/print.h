// Programs as texts.
#pragma once

#include <cstdint>
#include <string>

#include "program/code.h"

namespace regard::program {

// The value of one node in the program's own language; as numbered steps, one a line, where shared
// parts would make the text longer than 4096 characters.
std::string text_of(const Code& code, int32_t root);

}  // namespace regard::program
