#include "api/settings.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "regard/error.h"

namespace regard::api {
namespace {

constexpr int kMostThreads = 4096;

int parse_num_threads(std::string_view text) {
  int value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool is_whole = result.ec == std::errc() && result.ptr == text.data() + text.size();
  if (!is_whole || value < 1 || value > kMostThreads) {
    throw Error(ErrorCode::invalid_argument, "REGARD_NUM_THREADS=" + std::string(text) +
                                                 ": must be a whole number from 1 to " +
                                                 std::to_string(kMostThreads));
  }
  return value;
}

}  // namespace

Settings read_settings(const char* (*get)(const char* name)) {
  Settings settings;
  if (const char* target = get("REGARD_FORCE_TARGET")) {
    settings.force_target = target;
  }
  const char* num_threads = get("REGARD_NUM_THREADS");
  if (num_threads != nullptr && *num_threads != '\0') {
    settings.num_threads = parse_num_threads(num_threads);
  }
  return settings;
}

const Settings& settings() {
  // A throwing read leaves the variable unset, so that every call reports the bad value.
  static const Settings read =
      read_settings(+[](const char* name) -> const char* { return std::getenv(name); });
  return read;
}

}  // namespace regard::api
