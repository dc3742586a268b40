#include "tune/files/json_text.h"

#include <algorithm>
#include <set>
#include <vector>

#include "tune/error.h"
#include "tune/files/utf8.h"

namespace tune {
namespace {

constexpr int kMaxDepth = 32;

// "line 3, column 14" of a byte offset counted from 1, as nlohmann gives it.
std::string place_text(std::string_view text, size_t byte) {
  const std::string_view before = text.substr(0, byte == 0 ? 0 : byte - 1);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const size_t line_begin = before.rfind('\n') + 1;  // npos + 1 is 0
  return "line " + std::to_string(line) + ", column " +
         std::to_string(before.size() - line_begin + 1);
}

}  // namespace

nlohmann::json parse_json_strictly(std::string_view text, const std::string& path) {
  using nlohmann::json;
  if (!is_utf8(text)) throw Error(path + ": not UTF-8 text");
  std::vector<std::set<std::string>> open_objects;
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > kMaxDepth) {
      throw Error(path + ": JSON nested deeper than " + std::to_string(kMaxDepth) + " levels");
    }
    if (event == json::parse_event_t::object_start) open_objects.emplace_back();
    if (event == json::parse_event_t::object_end) open_objects.pop_back();
    if (event == json::parse_event_t::key &&
        !open_objects.back().insert(parsed.get<std::string>()).second) {
      throw Error(path + ": key \"" + parsed.get<std::string>() + "\" appears twice");
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), watch);
  } catch (const json::parse_error& error) {
    throw Error(path + ": not JSON: error at " + place_text(text, error.byte));
  } catch (const json::exception&) {
    throw Error(path + ": JSON with a number out of range");
  }
}

}  // namespace tune
