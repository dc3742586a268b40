// What a plain YAML word means as a boolean or a number, and a number as its shortest text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tune {

// true false yes no on off, in lower, upper and title case.
std::optional<bool> parse_boolean(std::string_view text);

// A finite decimal number that fills the whole text: "2e-4", "+.5", "1e-5". No hexadecimal, no
// infinity, no blanks.
std::optional<double> parse_number(std::string_view text);

// A whole decimal number; also "1e3" and "8.0", whose value is whole. A leading zero is refused
// ("010" is 8 to YAML 1.1 and 10 to YAML 1.2), and so is what int64 cannot hold.
std::optional<int64_t> parse_integer(std::string_view text);

// The shortest text that reads back to the same double.
std::string number_text(double value);

}  // namespace tune
