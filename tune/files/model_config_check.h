// What every ModelConfig must satisfy, wherever it was read from.
#pragma once

#include <functional>
#include <string>

#include "tune/files/model_config.h"

namespace tune {

// Called with the Hugging Face key that is wrong and a sentence such as "is 0; 1 to 4096 is
// allowed"; must throw.
using ConfigFault = std::function<void(const std::string& key, const std::string& cause)>;

void check_model_config(const ModelConfig& config, const ConfigFault& fault);

// "llama, mistral, qwen2, qwen3", for messages.
std::string architecture_list();

}  // namespace tune
