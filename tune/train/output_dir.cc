#include <filesystem>

#include "tune/error.h"
#include "tune/files/atomic_write.h"
#include "tune/train/checkpoint_store.h"
#include "tune/train/trainer.h"

namespace tune {

namespace fs = std::filesystem;

void prepare_output_dir(const Config& config) {
  const std::string& folder = config.output_dir;
  const std::string remedy = "; set output_dir (--output_dir) to a folder you may write to";
  if (folder.empty()) throw UsageError("output_dir is empty" + remedy);
  std::error_code error;
  fs::create_directories(folder, error);
  if (!fs::is_directory(folder)) {
    const std::string cause = error ? error.message() : "a file of this name is there";
    throw Error("output_dir " + folder + " cannot be created: " + cause + remedy);
  }
  const std::string probe = (fs::path(folder) / ".regard-write-test").string();
  try {
    write_file_atomically(probe, "a file that shows the folder can be written\n");
  } catch (const Error& problem) {
    throw Error("output_dir " + folder + " cannot be written to: " + problem.what() + remedy);
  }
  fs::remove(probe, error);
  CheckpointStore(folder).recover();
  recover_folder((fs::path(folder) / "merged").string());
  remove_unfinished_files(folder);
}

}  // namespace tune
