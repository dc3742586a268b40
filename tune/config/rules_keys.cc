// Rules 25 to 28: keys that Axolotl knows, keys that nobody knows, and values that cannot be read.
#include <string>

#include "tune/config/axolotl_keys.h"
#include "tune/config/rules.h"
#include "tune/config/scalar.h"
#include "tune/config/schema.h"

namespace tune {
namespace {

const AxolotlKey* axolotl_key(const UnknownKey& unknown) {
  return unknown.is_top_level ? find_axolotl_key(unknown.name) : nullptr;
}

bool is_false(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::scalar || node.is_quoted) return false;
  const std::optional<bool> value = parse_boolean(node.text);
  return value.has_value() && !*value;
}

// The nearest key of ours, or of Axolotl's when the name is clearly a misspelling of that.
std::string hint(const UnknownKey& unknown) {
  const std::string ours = nearest_key(unknown.name, unknown.candidates);
  if (unknown.is_top_level) {
    const std::string theirs = nearest_key(unknown.name, axolotl_key_names());
    const std::string_view name = std::string_view(unknown.name).substr(0, 64);
    const int distance = edit_distance(name, theirs);
    // A third of the letters wrong is still a misspelling; more than that is another word.
    const bool is_misspelling = 3 * static_cast<size_t>(distance) <= name.size();
    if (is_misspelling && distance < edit_distance(name, ours)) {
      const bool ignored = find_axolotl_key(theirs)->kind == AxolotlKeyKind::no_effect;
      return "the nearest key is " + theirs + ", which " +
             (ignored ? "Regard ignores: remove it" : "Regard does not support: remove it");
    }
  }
  return "the nearest key is " + ours + ": write that, or remove the line";
}

}  // namespace

namespace rules {

void reporting_key(const Facts& facts, Report& report) {
  for (const UnknownKey& unknown : facts.read.unknown_keys) {
    const AxolotlKey* key = axolotl_key(unknown);
    if (key == nullptr || key->kind != AxolotlKeyKind::no_effect) continue;
    report.note(unknown.key, unknown.mark,
                unknown.key + " is Axolotl's and changes nothing in what is trained: ignored");
  }
}

void unsupported_key(const Facts& facts, Report& report) {
  for (const UnknownKey& unknown : facts.read.unknown_keys) {
    const AxolotlKey* key = axolotl_key(unknown);
    if (key == nullptr || key->kind != AxolotlKeyKind::unsupported) continue;
    if (is_false(*unknown.value)) continue;  // not given
    report.error(unknown.key, unknown.mark,
                 unknown.key + " is known to Axolotl and not supported by Regard: " +
                     std::string(key->instead));
  }
}

void unknown_key(const Facts& facts, Report& report) {
  for (const UnknownKey& unknown : facts.read.unknown_keys) {
    if (axolotl_key(unknown) != nullptr) continue;
    report.error(unknown.key, unknown.mark,
                 "unknown key " + unknown.key.substr(0, 120) + ": " + hint(unknown));
  }
}

void value_faults(const Facts& facts, Report& report) {
  for (const ValueFault& fault : facts.faults) report.error(fault.key, fault.mark, fault.message);
}

}  // namespace rules
}  // namespace tune
