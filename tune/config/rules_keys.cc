// Rules 25 to 28: keys that Axolotl knows, keys that nobody knows, and values that cannot be read.
#include <algorithm>
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

std::string with_underscores(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// What to write instead of an unknown option: the nearest of the command's own and of the keys.
std::string option_hint(const UnknownKey& unknown, const std::vector<std::string>& options) {
  std::vector<std::string> candidates;
  if (unknown.is_top_level) {
    for (const std::string& option : options) candidates.push_back(with_underscores(option));
  }
  candidates.insert(candidates.end(), unknown.candidates.begin(), unknown.candidates.end());
  std::string nearest = nearest_key(unknown.name, candidates);
  if (nearest.empty()) {
    return "no option and no key has a name like it; --help lists the options, docs/keys.md the "
           "keys";
  }
  for (const std::string& option : options) {
    if (with_underscores(option) == nearest) nearest = option;
  }
  const std::string path = unknown.key.substr(0, unknown.key.size() - unknown.name.size());
  return "the nearest is --" + path + nearest;
}

// The nearest key of ours, or of Axolotl's when that is nearer.
std::string key_hint(const UnknownKey& unknown) {
  const std::string ours = nearest_key(unknown.name, unknown.candidates);
  const std::string theirs =
      unknown.is_top_level ? nearest_key(unknown.name, axolotl_key_names()) : "";
  const auto distance = [&](const std::string& key) { return edit_distance(unknown.name, key); };
  if (!theirs.empty() && (ours.empty() || distance(theirs) < distance(ours))) {
    const bool is_ignored = find_axolotl_key(theirs)->kind == AxolotlKeyKind::no_effect;
    return "the nearest key is " + theirs + ", which " +
           (is_ignored ? "Regard ignores: remove it" : "Regard does not support: remove it");
  }
  if (ours.empty()) return "no key has a name like it; docs/keys.md lists all: remove the line";
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
    const std::string name = unknown.key.substr(0, 120);
    report.error(unknown.key, unknown.mark,
                 unknown.value->is_override
                     ? "unknown option: " + option_hint(unknown, facts.options.command_options)
                     : "unknown key " + name + ": " + key_hint(unknown));
  }
}

void value_faults(const Facts& facts, Report& report) {
  for (const ValueFault& fault : facts.faults) report.error(fault.key, fault.mark, fault.message);
}

}  // namespace rules
}  // namespace tune
