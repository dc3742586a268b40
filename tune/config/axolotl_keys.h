// Keys of Axolotl's schema that Regard does not have, as data (rules 25 and 26). Exact names, from
// Axolotl's schema files (src/axolotl/utils/schemas and the arguments of its integrations) at
// commit 4a5876df7 of 2026-03-16, version 0.16.0.dev0.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tune {

enum class AxolotlKeyKind : unsigned char {
  no_effect,    // rule 25: reports, or says how and where the same training is carried out
  unsupported,  // rule 26: would change what is trained
};

struct AxolotlKey {
  std::string_view name;
  AxolotlKeyKind kind;
  std::string_view instead;  // of an unsupported key: what to write or do instead
};

// Null when the name is not on the list.
const AxolotlKey* find_axolotl_key(std::string_view name);

std::vector<std::string> axolotl_key_names();

}  // namespace tune
