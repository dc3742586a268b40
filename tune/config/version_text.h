// A toolkit's version in words.
#pragma once

#include <string>

#include "regard/machine.h"

namespace tune {

// "12.4"; "none" for a toolkit that is not there.
inline std::string version_text(const regard::ToolkitVersion& version) {
  if (version == regard::ToolkitVersion{}) return "none";
  return std::to_string(version.major) + "." + std::to_string(version.minor);
}

}  // namespace tune
