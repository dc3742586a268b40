#include "cli/arguments.h"

#include <algorithm>

#include "tune/error.h"

namespace cli {
namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_option(const std::string& word) { return word.rfind("--", 0) == 0; }

}  // namespace

Arguments split_arguments(const std::vector<std::string>& words,
                          const std::vector<std::string>& own_options,
                          const std::vector<std::string>& own_flags) {
  Arguments split;
  for (size_t i = 0; i < words.size(); ++i) {
    if (!is_option(words[i])) {
      split.own.push_back(words[i]);
      continue;
    }
    const size_t equals = words[i].find('=');
    const std::string name = words[i].substr(2, equals == std::string::npos ? equals : equals - 2);
    const bool has_next =
        equals == std::string::npos && i + 1 < words.size() && !is_option(words[i + 1]);
    if (name.empty())
      throw tune::UsageError("'" + words[i] +
                             "': an option needs a name, as in --learning_rate 1e-4");
    if (contains(own_flags, name)) {
      split.own.push_back(words[i]);
    } else if (contains(own_options, name)) {
      split.own.push_back(words[i]);
      if (has_next) split.own.push_back(words[++i]);
    } else {
      std::string key = name;
      std::replace(key.begin(), key.end(), '-', '_');
      std::string value = equals != std::string::npos ? words[i].substr(equals + 1) : "true";
      if (has_next) value = words[++i];
      split.overrides.emplace_back(key, value);
    }
  }
  return split;
}

}  // namespace cli
