#include "tune/config/overrides.h"

#include <algorithm>
#include <optional>

#include "tune/config/scalar.h"
#include "tune/config/text_check.h"

namespace tune {
namespace {

constexpr size_t kMaxPathParts = 16;

void mark_as_override(YamlNode& node) {
  node.is_override = true;
  node.mark = {};
  node.key_mark = {};
  for (YamlNode& item : node.items) mark_as_override(item);
}

// The value as a node. Text stays as it was typed, so that a program such as "q >= kv" or a name
// with a colon needs no second pair of quotes.
YamlNode value_node(const std::string& value) {
  YamlDocument document = parse_yaml(value);
  const bool is_flow = !value.empty() && (value.front() == '[' || value.front() == '{');
  YamlNode node = std::move(document.root);
  const bool is_block =
      node.kind == YamlNode::Kind::sequence || node.kind == YamlNode::Kind::mapping;
  if (document.fault || (is_block && !is_flow) || (node.kind == YamlNode::Kind::scalar)) {
    const bool was_quoted = !document.fault && node.is_quoted && !is_block;
    std::string text = was_quoted ? node.text : value;
    node = YamlNode{};
    node.kind = YamlNode::Kind::scalar;
    node.text = std::move(text);
    node.is_quoted = was_quoted;
  }
  mark_as_override(node);
  return node;
}

// "--learning-rate" and "learning_rate" are the same key.
std::string plain_key(std::string key) {
  if (key.rfind("--", 0) == 0) key.erase(0, 2);
  std::replace(key.begin(), key.end(), '-', '_');
  return key;
}

std::vector<std::string> split_path(const std::string& key) {
  std::vector<std::string> parts(1);
  for (const char c : key) {
    if (c == '.' || c == '[') {
      parts.emplace_back();
    } else if (c != ']') {
      parts.back() += c;
    }
  }
  return parts;
}

// The child of `node` that `part` names, made when absent; null when there is no such place.
YamlNode* step_into(YamlNode& node, const std::string& part) {
  if (node.is_null()) node.kind = YamlNode::Kind::mapping;
  if (node.kind == YamlNode::Kind::sequence) {
    const std::optional<int64_t> index = parse_integer(part);
    const auto size = static_cast<int64_t>(node.items.size());
    if (!index || *index < 0 || *index >= size) return nullptr;
    return &node.items[static_cast<size_t>(*index)];
  }
  if (node.kind != YamlNode::Kind::mapping) return nullptr;
  if (YamlNode* found = node.find(part)) return found;
  YamlNode child;
  child.key = part;
  child.is_override = true;
  node.items.push_back(std::move(child));
  return &node.items.back();
}

// An override takes the place of the file's key, and of a second one written by mistake.
void replace(YamlNode& place, YamlNode value) {
  value.key = std::move(place.key);
  place = std::move(value);
}

std::optional<ValueFault> apply_one(YamlNode& root, const std::string& key,
                                    const std::string& value) {
  if (find_text_fault(key) || find_text_fault(value)) {
    return ValueFault{"", {}, "an option of the command line is not UTF-8 text"};
  }
  const std::vector<std::string> parts = split_path(key);
  const bool has_empty_part = std::count(parts.begin(), parts.end(), std::string()) > 0;
  if (has_empty_part || parts.size() > kMaxPathParts) {
    return ValueFault{key, {}, "--" + key + ": write --key VALUE, or --a.b VALUE inside a mapping"};
  }
  YamlNode* place = &root;
  for (const std::string& part : parts) {
    place = step_into(*place, part);
    if (place == nullptr) {
      return ValueFault{key, {}, "--" + key + ": the file has no place \"" + part + "\" to set"};
    }
  }
  replace(*place, value_node(value));
  return std::nullopt;
}

}  // namespace

std::vector<ValueFault> apply_overrides(
    YamlNode& root, const std::vector<std::pair<std::string, std::string>>& overrides) {
  std::vector<ValueFault> faults;
  for (const auto& entry : overrides) {
    std::optional<ValueFault> fault = apply_one(root, plain_key(entry.first), entry.second);
    if (fault) faults.push_back(std::move(*fault));
  }
  return faults;
}

std::optional<std::string> overriding_option(
    const std::string& key, const std::vector<std::pair<std::string, std::string>>& overrides) {
  const std::vector<std::string> parts = split_path(key);
  for (const auto& entry : overrides) {
    const std::string overridden = plain_key(entry.first);
    const std::vector<std::string> start = split_path(overridden);
    if (start.size() <= parts.size() && std::equal(start.begin(), start.end(), parts.begin()))
      return "--" + overridden;
  }
  return std::nullopt;
}

}  // namespace tune
