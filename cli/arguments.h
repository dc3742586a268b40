// The words of a command line: options of the command itself, and overrides of configuration keys.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace cli {

struct Arguments {
  std::vector<std::string> own;                                // for the command's parser
  std::vector<std::pair<std::string, std::string>> overrides;  // key, value
};

// Splits `words`: "--key value", "--key=value" and a lone "--flag" (true) whose name is not in
// `own_options` are overrides; dashes in a key may stand for underscores. `own_flags` are the own
// options that take no value. Throws tune::UsageError for "--" without a name.
Arguments split_arguments(const std::vector<std::string>& words,
                          const std::vector<std::string>& own_options,
                          const std::vector<std::string>& own_flags);

}  // namespace cli
