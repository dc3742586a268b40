// Which checkpoint a run continues from.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tune/config/config.h"

namespace tune {

// The folder resume_from_checkpoint names, or with `true`, `auto` or auto_resume_from_checkpoints
// the newest complete one of output_dir; damaged ones are passed over with a note. None when
// resuming was not asked for, or with `auto` when there is nothing to resume. Throws UsageError
// for a named folder that is missing or damaged, and for `true` without any complete checkpoint.
std::optional<std::string> find_resume_folder(const Config& config,
                                              std::vector<std::string>& notes);

}  // namespace tune
