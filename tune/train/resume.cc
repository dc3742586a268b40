#include "tune/train/resume.h"

#include <algorithm>

#include "tune/error.h"
#include "tune/train/checkpoint_store.h"

namespace tune {
namespace {

std::optional<std::string> newest_complete(const std::string& output_dir,
                                           std::vector<std::string>& notes) {
  const std::vector<Checkpoint> checkpoints = CheckpointStore(output_dir).list();
  for (auto checkpoint = checkpoints.rbegin(); checkpoint != checkpoints.rend(); ++checkpoint) {
    const std::string damage = why_damaged(checkpoint->folder);
    if (damage.empty()) return checkpoint->folder;
    notes.push_back(checkpoint->folder + " is damaged (" + damage +
                    "); looking for the checkpoint before it");
  }
  return std::nullopt;
}

std::string checked_folder(std::string folder) {
  while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
  const std::string damage = why_damaged(folder);
  if (!damage.empty())
    throw UsageError("resume_from_checkpoint: " + folder + " cannot be used: " + damage +
                     ". Write resume_from_checkpoint: true for the newest complete checkpoint of "
                     "output_dir");
  return folder;
}

}  // namespace

std::optional<std::string> find_resume_folder(const Config& config,
                                              std::vector<std::string>& notes) {
  const std::string& wish = config.resume_from_checkpoint;
  const bool is_unset = wish.empty() || wish == "false" || wish == "null";
  if (is_unset && !config.auto_resume_from_checkpoints) return std::nullopt;
  if (!is_unset && wish != "true" && wish != "auto") return checked_folder(wish);
  std::optional<std::string> folder = newest_complete(config.output_dir, notes);
  if (!folder && wish == "true")
    throw UsageError("resume_from_checkpoint: true, but " + config.output_dir +
                     " holds no complete checkpoint; remove the key to start from the beginning, "
                     "or write auto to resume only where there is something to resume");
  return folder;
}

}  // namespace tune
