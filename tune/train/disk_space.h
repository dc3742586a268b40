// Whether a run's checkpoints can fit on the disk: told before the first step, not found out in the
// night.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tune/config/config.h"

namespace tune {

// What a run will certainly write and keep; bytes.
struct DiskNeed {
  int64_t num_checkpoints = 0;  // at once, those that lie there already not counted
  int64_t checkpoint_bytes = 0;
  int64_t result_bytes = 0;  // the adapter or model in output_dir itself
};

// A lower bound: the tensors alone. Two f32 moments of everything that is trained, the weights in
// f32, and for adapters the f32 masters beside them. `num_parameters` counts all of the model's.
int64_t checkpoint_bytes(const Config& config, int64_t num_parameters, int64_t num_trainable);
int64_t result_bytes(const Config& config, int64_t num_parameters, int64_t num_trainable);

// New checkpoints that lie on the disk together at the worst moment, when `num_to_write` are still
// to come and `num_own` of this run are there: with save_total_limit an old one goes only after the
// new one is complete. `limit` 0 = all are kept.
int64_t checkpoints_at_once(int64_t num_to_write, int64_t limit, int64_t num_own);

// Bytes that a user may write below `folder`; none when the file system does not say.
std::optional<int64_t> free_bytes(const std::string& folder);

// A sentence with the figures and the remedies when `need` exceeds `free`, else "".
std::string disk_warning(const std::string& folder, const DiskNeed& need,
                         std::optional<int64_t> free);

}  // namespace tune
