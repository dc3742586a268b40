// A LoRA adapter on disk, as PEFT reads and writes it.
#pragma once

#include <string>

#include "tune/model/decoder.h"
#include "tune/model/language_model.h"

namespace tune {

void save_adapter_files(Decoder& decoder, const ModelOptions& options, const std::string& folder,
                        const std::string& base_model_name);
// Every tensor of the file must belong to the model and the other way round, with equal shapes;
// else tune::Error naming the first that does not.
void load_adapter_files(Decoder& decoder, const ModelOptions& options, const std::string& folder);

}  // namespace tune
