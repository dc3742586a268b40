// JSON as model files need it read: strict, bounded, and with errors that name the file.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace tune {

// Throws tune::Error: not JSON (with line and column), not UTF-8, a key twice in one object, nested
// deeper than 32.
nlohmann::json parse_json_strictly(std::string_view text, const std::string& path);

}  // namespace tune
