// What to say, and to change, when a device's memory is used up.
#pragma once

#include <functional>
#include <string>

#include <torch/types.h>

#include "tune/config/config.h"

namespace tune {

// "step 3: out of memory on the GPU (71.2 GiB in tensors, 74.9 GiB reserved). Less is needed with
// ..." Names only what the configuration does not do yet.
std::string memory_advice(const Config& config, const std::string& when,
                          const torch::Device& device);

// Runs `body`; an error that says memory is used up becomes tune::Error with memory_advice().
void explaining_out_of_memory(const Config& config, const std::string& when,
                              const torch::Device& device, const std::function<void()>& body);

}  // namespace tune
