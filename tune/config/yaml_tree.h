// One YAML document as a tree that remembers where every key and value stands, including keys
// written twice, which yaml-cpp's own nodes hide. The rules report by these positions.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tune {

// 1-based; 0 = not in the file (an override of the command line, a default).
struct YamlMark {
  int line = 0, column = 0;
};

struct YamlNode {
  enum class Kind : unsigned char { null, scalar, sequence, mapping };

  Kind kind = Kind::null;
  std::string text;          // of a scalar
  bool is_quoted = false;    // "..." '...' | > or !!str: text, never a boolean
  bool is_override = false;  // from the command line, where a shell has taken the quotes away
  YamlMark mark;             // of the value
  std::string key;           // of an entry of a mapping
  YamlMark key_mark;
  std::vector<YamlNode> items;  // of a sequence, or the entries of a mapping in file order

  bool is_null() const { return kind == Kind::null; }
  // The first entry named `name` of a mapping, null when there is none.
  const YamlNode* find(std::string_view name) const;
  YamlNode* find(std::string_view name);
};

// "a mapping", "a list", "text", "nothing": for messages.
std::string_view yaml_kind_name(const YamlNode& node);

// Why a text is not one readable YAML document, and where.
struct YamlFault {
  YamlMark mark;
  std::string message;
};

struct YamlDocument {
  YamlNode root;
  std::optional<YamlFault> fault;  // when set, root says nothing
};

// A configuration larger than this is not one; the limit also bounds what a wrong path can cost.
inline constexpr size_t kMaxConfigBytes = 1 << 20;

// Reads exactly one document. Aliases are copied in and merge keys (<<) applied; tags other than
// !!str, nesting beyond 32 levels and more than 100,000 nodes after copying are faults.
YamlDocument parse_yaml(std::string_view text);

}  // namespace tune
