#include "tune/train/merge.h"

#include <filesystem>
#include <memory>

#include "tune/error.h"
#include "tune/files/atomic_write.h"
#include "tune/train/result_files.h"
#include "tune/train/session.h"

namespace tune {

std::string merge_adapter(const Config& config, const LoadProgress& progress) {
  if (!config.uses_adapter())
    throw UsageError(
        "adapter: is unset, so training was of the full model and there is nothing to merge; use "
        "output_dir as it is");
  Config unquantised = config;
  unquantised.load_in_4bit = unquantised.load_in_8bit = false;
  unquantised.adapter = "lora";
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(unquantised);
  const std::unique_ptr<LanguageModel> model =
      open_trained_model(unquantised, *tokenizer, /*with_adapter=*/true, progress);
  const std::string folder = (std::filesystem::path(config.output_dir) / "merged").string();
  write_folder_atomically(folder, [&](const std::string& fresh) {
    model->save_model(fresh, saved_dtype(config), kMaxShardBytes);
    tokenizer->save(fresh);
  });
  return folder;
}

}  // namespace tune
