// What validation and the modules' own vocabularies check alike, and the words for it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "regard/problem.h"

namespace regard::checks {

[[noreturn]] void fail(const std::string& message);  // Error(invalid_argument)

std::string text(int64_t value);
std::string shape_text(std::span<const int64_t> extents);  // "[1, 4, 2, 8]"
std::string shape_text(const View& view);

// "k.seq 3 and v.seq 4: must be equal"
void check_same(const std::string& left, int64_t a, const std::string& right, int64_t b);

// Cumulative lengths: `count` + 1 entries from 0 on that do not decrease.
void check_cumulative(const std::string& name, const int32_t* offsets, int32_t count);

// For functions that touch rows themselves: refuses memory of a GPU with Error(unsupported) and the
// remedy.
void require_host_memory(const std::string& what, const void* pointer, const std::string& remedy);

}  // namespace regard::checks
