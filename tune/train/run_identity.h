// What two runs must share so that one can continue the other bit for bit.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tune/config/config.h"
#include "tune/data/sample.h"
#include "tune/model/language_model.h"
#include "tune/tokenizer/tokenizer.h"

namespace tune {

// Configuration key (or "model", "datasets", "tokenizer") -> its value as text; for datasets, a
// checksum over all training rows; for the base model of an adapter, base_model_content.
std::map<std::string, std::string> run_identity(const Config& config, const LanguageModel& model,
                                                const Tokenizer& tokenizer,
                                                const std::vector<Sample>& samples);

// Compares a checkpoint's identity with this run's. Throws UsageError naming every key that differs
// with both values. Differences that only change rounding or the length of the run are returned
// as sentences instead.
std::vector<std::string> check_same_run(const std::map<std::string, std::string>& saved,
                                        const std::map<std::string, std::string>& now,
                                        const std::string& checkpoint_folder);

}  // namespace tune
