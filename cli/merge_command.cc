// regard merge-lora: base model and adapter as one model.
#include <cstdio>

#include "cli/command_line.h"
#include "cli/terminal.h"
#include "tune/train/merge.h"
#include "tune/train/session.h"

namespace cli {

int merge_command(const Words& words) {
  CommandLine line("merge-lora",
                   "Write base model and adapter as one model, into OUTPUT_DIR/merged.");
  if (!line.parse(words)) return 0;
  const tune::Config config = line.checked_config(tune::Purpose::merge);
  tune::use_threads(config);
  std::string folder;
  {
    Progress progress("Loading weights");
    folder =
        tune::merge_adapter(config, [&](int64_t done, int64_t total) { progress(done, total); });
  }
  std::printf("merged model in %s\n", folder.c_str());
  return 0;
}

}  // namespace cli
