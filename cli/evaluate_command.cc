// regard evaluate: loss and perplexity on the validation rows, before or after training.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/command_line.h"
#include "cli/terminal.h"
#include "tune/data/dataset.h"
#include "tune/error.h"
#include "tune/train/session.h"
#include "tune/train/trainer.h"

namespace cli {

int evaluate_command(const Words& words) {
  CommandLine line("evaluate", "Loss and perplexity on the validation rows of a YAML file.");
  bool base_only = false, as_json = false;
  line.app().add_flag("--base", base_only, "judge the base model, without what training added");
  line.app().add_flag("--json", as_json, "print one JSON object");
  if (!line.parse(words)) return 0;
  const tune::Config config = line.checked_config(tune::Purpose::evaluate);
  tune::require_built(config);
  tune::use_threads(config);
  const std::unique_ptr<tune::Tokenizer> tokenizer = tune::open_tokenizer(config);
  const tune::PreparedData data = tune::prepare_data(config, *tokenizer);
  if (data.validation.empty()) {
    throw tune::UsageError(line.file() +
                           ": there are no validation rows; set val_set_size or test_datasets");
  }
  const std::unique_ptr<tune::LanguageModel> model =
      tune::open_trained_model(config, *tokenizer, !base_only);
  const tune::EvalRecord record = tune::evaluate(config, *model, *tokenizer, data.validation);
  if (as_json) {
    const nlohmann::json json = {{"loss", record.loss},
                                 {"perplexity", record.perplexity},
                                 {"num_tokens", record.num_tokens},
                                 {"seconds", record.seconds}};
    std::printf("%s\n", json.dump().c_str());
  } else {
    std::printf("loss %.4f, perplexity %.3f over %s tokens of %s rows (%s)\n", record.loss,
                record.perplexity, count_text(record.num_tokens).c_str(),
                count_text(static_cast<int64_t>(data.validation.size())).c_str(),
                duration_text(record.seconds).c_str());
  }
  return 0;
}

}  // namespace cli
