// The schema: every key of a configuration file, listed once with its field, range and help.
// Reading, the command line's overrides, config_to_yaml, the key reference and the hint for unknown
// keys are visitors of this list.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tune/config/config.h"

namespace tune {

// The field that a key fills; its type is the key's type.
using FieldRef =
    std::variant<bool*, std::optional<bool>*, Tristate*, int64_t*, std::optional<int64_t>*, double*,
                 std::optional<double>*, std::string*, std::vector<std::string>*,
                 std::map<std::string, std::string>*, std::map<std::string, FlexTensor>*,
                 std::vector<DatasetConfig>*>;

// Allowed numbers.
struct Range {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool excludes_min = false, excludes_max = false;

  bool contains(double value) const;
  std::string text() const;  // "> 0 and <= 10"; empty when everything is allowed
};

struct KeySpec {
  std::string_view help{};                   // one sentence for the key reference
  Range range{};                             // of numbers
  std::vector<std::string_view> choices{};   // of a text; empty = any
  std::vector<std::string_view> map_keys{};  // of a mapping of texts; empty = any
  std::string_view required_for{};           // "train": null is rule 31; empty = optional
  bool is_read_from_empty_text = false;      // "" means something (datasets[].type)
  bool is_checked_by_rule_3 = false;         // attn_implementation: rule 3 judges its type too
  bool takes_boolean = false;  // a text; a plain true is the text "true", false is not given
};

class FieldVisitor {
 public:
  virtual ~FieldVisitor() = default;
  // A heading of the key reference; most visitors do not mind.
  virtual void section(std::string_view /*title*/) {}
  virtual void field(std::string_view key, FieldRef field, const KeySpec& spec) = 0;
};

// Calls visitor.field for every key in the order of the reference.
void visit_keys(FieldVisitor& visitor, Config& config);
void visit_keys(FieldVisitor& visitor, DatasetConfig& dataset);

// "true or false", "a whole number", ...: the type of a key, for messages and the reference.
std::string_view field_type_name(const FieldRef& field);

// "a | b | c"
std::string choices_text(const std::vector<std::string_view>& choices);

// All keys of Config, or of one entry of `datasets`.
std::vector<std::string> config_key_names();
std::vector<std::string> dataset_key_names();

// The entry of `candidates` with the smallest edit distance (Damerau-Levenshtein, neighbours may
// swap) to `key`; the first of equals. Empty when more than a quarter of the letters of `key` would
// have to change (one is allowed from three letters on): that is another word, and naming it would
// mislead.
std::string nearest_key(std::string_view key, const std::vector<std::string>& candidates);
int edit_distance(std::string_view a, std::string_view b);

}  // namespace tune
