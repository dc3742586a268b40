// regard preprocess: tokenize, fill the cache, show what the model will see.
#include <algorithm>
#include <cstdio>
#include <iostream>

#include "cli/command_line.h"
#include "cli/terminal.h"
#include "tune/data/dataset.h"
#include "tune/train/session.h"

namespace cli {
namespace {

// "text(label, id)"; on a terminal trained tokens are green and masked ones (label -100) red.
void print_sample(const tune::Sample& sample, const tune::Tokenizer& tokenizer) {
  const bool has_colours = stdout_has_colours();
  for (const tune::TokenLabel& token : tune::describe_sample(sample, tokenizer)) {
    if (has_colours) std::cout << (token.is_trained ? "\033[32m" : "\033[31m");
    std::cout << token.text << (has_colours ? "\033[0m(" : "(") << token.label << ", " << token.id
              << ") ";
  }
  std::cout << "\n\n";
}

void print_stats(const tune::PreparedData& data) {
  const tune::DatasetStats& s = data.stats;
  std::cout << "  rows        " << count_text(static_cast<int64_t>(data.train.size()))
            << " for training, " << count_text(static_cast<int64_t>(data.validation.size()))
            << " for evaluation\n"
            << "  tokens      " << count_text(s.num_tokens) << ", of which "
            << count_text(s.num_trainable) << " are trained on\n"
            << "  longest     " << count_text(s.longest) << " tokens\n"
            << "  left out    " << s.num_dropped_long << " too long, " << s.num_dropped_short
            << " too short, " << s.num_dropped_untrainable << " without a token to learn; "
            << s.num_truncated << " cut\n"
            << "  cache       " << (s.cache_path.empty() ? "not written" : s.cache_path)
            << (s.from_cache ? " (was there already)" : "") << "\n";
  print_data_note(s);
}

}  // namespace

int preprocess_command(const Words& words) {
  CommandLine line("preprocess", "Tokenize and cache the data of a YAML file.");
  bool debug = false;
  int64_t num_examples = 5;
  line.app().add_flag("--debug", debug, "print the first rows with each token's label and id");
  line.app()
      .add_option("--debug-num-examples", num_examples, "how many rows --debug prints")
      ->capture_default_str();
  if (!line.parse(words)) return 0;
  const tune::Config config = line.checked_config(tune::Purpose::preprocess);
  const std::unique_ptr<tune::Tokenizer> tokenizer = tune::open_tokenizer(config);
  tune::PreparedData data;
  {
    Progress progress("Tokenizing");
    data = tune::prepare_data(config, *tokenizer,
                              [&](int64_t done, int64_t total) { progress(done, total); });
  }
  if (debug) {
    const size_t shown =
        std::min(data.train.size(), static_cast<size_t>(std::max<int64_t>(num_examples, 0)));
    for (size_t i = 0; i < shown; ++i) print_sample(data.train[i], *tokenizer);
  }
  print_stats(data);
  return 0;
}

}  // namespace cli
