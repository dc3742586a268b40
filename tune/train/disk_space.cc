#include "tune/train/disk_space.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cstdio>

namespace tune {
namespace {

constexpr int64_t kF32Bytes = 4, kBf16Bytes = 2;

std::string gigabytes(double bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f GB", bytes / 1e9);
  return text;
}

}  // namespace

int64_t checkpoint_bytes(const Config& config, int64_t num_parameters, int64_t num_trainable) {
  const int64_t moments = 2 * kF32Bytes * num_trainable;
  if (!config.uses_adapter()) return moments + kF32Bytes * num_parameters;
  return moments + kF32Bytes * num_trainable + result_bytes(config, num_parameters, num_trainable);
}

int64_t result_bytes(const Config& config, int64_t num_parameters, int64_t num_trainable) {
  if (config.uses_adapter()) return kF32Bytes * num_trainable;
  return (config.uses_bf16() ? kBf16Bytes : kF32Bytes) * num_parameters;
}

int64_t checkpoints_at_once(int64_t num_to_write, int64_t limit, int64_t num_own) {
  if (limit <= 0) return num_to_write;
  return std::clamp<int64_t>(limit + 1 - num_own, 0, num_to_write);
}

std::optional<int64_t> free_bytes(const std::string& folder) {
  struct statvfs info {};
  // Some network file systems answer with all zeros.
  if (::statvfs(folder.c_str(), &info) != 0 || info.f_blocks == 0) return std::nullopt;
  return static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
}

std::string disk_warning(const std::string& folder, const DiskNeed& need,
                         std::optional<int64_t> free) {
  // In double: checkpoints of a run without save_total_limit may add up to more than 63 bits.
  const double checkpoints =
      static_cast<double>(need.num_checkpoints) * static_cast<double>(need.checkpoint_bytes);
  const double total = checkpoints + static_cast<double>(need.result_bytes);
  if (!free || total <= static_cast<double>(*free)) return "";
  return "the disk of " + folder +
         " will be full before the run ends: " + gigabytes(static_cast<double>(*free)) +
         " are free, and it needs at least " + gigabytes(total) + " (" +
         std::to_string(need.num_checkpoints) + " checkpoints of " +
         gigabytes(static_cast<double>(need.checkpoint_bytes)) + " at once, and the result of " +
         gigabytes(static_cast<double>(need.result_bytes)) +
         "). Free space, set output_dir to another disk, or keep fewer: save_total_limit: 1, "
         "larger save_steps";
}

}  // namespace tune
