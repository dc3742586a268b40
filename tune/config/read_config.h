// From a YAML tree to a Config: types, ranges and choices of the schema. What cannot be read is
// collected for rules 27 and 28; nothing throws.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "tune/config/config.h"
#include "tune/config/yaml_tree.h"

namespace tune {

// A value (or a key written twice) that rule 28 refuses.
struct ValueFault {
  std::string key;  // with its path: "datasets[0].type"
  YamlMark mark;
  std::string message;
};

// A key that the schema does not have. Null values are "not given" and are not collected.
struct UnknownKey {
  std::string key;  // with its path
  std::string name;
  YamlMark mark;
  const YamlNode* value = nullptr;
  std::vector<std::string> candidates;  // the keys that its mapping may have
  bool is_top_level = false;
};

struct ReadResult {
  Config config;
  std::vector<ValueFault> faults;
  std::vector<UnknownKey> unknown_keys;  // their `value` points into the tree that was read
  std::set<std::string> bad_keys;        // top-level keys with a fault; their field is a default
};

ReadResult read_config(const YamlNode& root);

// Keys written twice in one mapping anywhere in the tree, each at its second place.
std::vector<ValueFault> find_duplicate_keys(const YamlNode& root);

// A scalar of a YAML text that is no text to the schema: a plain boolean or number.
bool is_plain_boolean_or_number(const YamlNode& node);

}  // namespace tune
