// --key value of the command line, put into the tree of the file before it is read.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tune/config/read_config.h"
#include "tune/config/yaml_tree.h"

namespace tune {

// Sets each key: "learning_rate", "learning-rate", "special_tokens.pad_token", "datasets[0].path"
// (or "datasets.0.path"). A value is read as YAML ("[q_proj, v_proj]", "null"); what YAML would
// refuse is plain text. The marks of overrides are 0. Returns what could not be set.
std::vector<ValueFault> apply_overrides(
    YamlNode& root, const std::vector<std::pair<std::string, std::string>>& overrides);

// The option that says what stands at `key` ("datasets[0].path"), as "--datasets[0].path"; none
// when no override does.
std::optional<std::string> overriding_option(
    const std::string& key, const std::vector<std::pair<std::string, std::string>>& overrides);

}  // namespace tune
