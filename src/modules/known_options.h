// Which of the shared options a module knows: a table, so that the documentation, the refusals and
// the tests say the same.
#pragma once

#include <string>

#include "regard/modules.h"

namespace regard::lowering {

// Names the first option in use that `module` does not know, and the modules that do; empty when it
// knows all of them.
std::string unknown_option(Module module, const AttentionOptions& options);

}  // namespace regard::lowering
