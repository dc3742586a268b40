// CheckpointStore: the checkpoint-N folders of an output folder. Each appears whole or not at all
// and carries a manifest (checkpoint.json) with size and CRC-32 of every file, so that a damaged
// one is recognised.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace tune {

struct Checkpoint {
  std::string folder;
  int64_t step = 0;
  std::string run_id;    // the same for a run and its continuations
  int64_t saved_at = 0;  // nanoseconds since 1970; orders checkpoints of different runs
};

class CheckpointStore {
 public:
  explicit CheckpointStore(std::string output_dir) : output_dir_(std::move(output_dir)) {}

  // Cleans up what a killed run left under way. Call once, before anything else.
  void recover();

  // All checkpoint-N folders, oldest first; damaged ones included (without run_id where the
  // manifest cannot be read).
  std::vector<Checkpoint> list() const;

  // Calls fill(folder), adds the manifest, puts the folder in place as checkpoint-`step`. Returns
  // its path. Throws tune::Error (disk full, ...) and leaves what was there as it was.
  std::string write(int64_t step, const std::string& run_id,
                    const std::function<void(const std::string& folder)>& fill);

  // Removes the oldest checkpoints of this run beyond `limit` (0 = keep all). Other runs' stay.
  void remove_oldest(const std::string& run_id, int64_t limit);

 private:
  std::string output_dir_;
};

// What is wrong with a checkpoint folder: "" when every file of its manifest is there with its size
// and checksum, else a sentence naming the file.
std::string why_damaged(const std::string& folder);

}  // namespace tune
