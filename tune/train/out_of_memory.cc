#include "tune/train/out_of_memory.h"

#include <cstdio>

#include "tune/error.h"
#include "tune/model/device.h"

namespace tune {
namespace {

std::string gibibytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f GiB", static_cast<double>(bytes) / (1 << 30));
  return text;
}

std::string device_text(const torch::Device& device) {
  if (!device.is_cuda()) return "";
  const DeviceMemory memory = device_memory(device);
  if (memory.reserved == 0) return " on the GPU";
  return " on the GPU (" + gibibytes(memory.allocated) + " in tensors, " +
         gibibytes(memory.reserved) + " reserved)";
}

}  // namespace

std::string memory_advice(const Config& config, const std::string& when,
                          const torch::Device& device) {
  std::string text = when + ": out of memory" + device_text(device) + ". Less is needed with";
  if (config.micro_batch_size > 1) {
    text += " a smaller micro_batch_size (now " + std::to_string(config.micro_batch_size) +
            ", with more gradient_accumulation_steps for the same result),";
  }
  text += " a smaller sequence_len (now " + std::to_string(config.sequence_len) + ")";
  if (!config.gradient_checkpointing) text += ", gradient_checkpointing: true";
  if (config.attention == regard::Module::eager) text += ", flash_attention: true instead of eager";
  if (!config.uses_bf16()) text += ", bf16: true";
  if (!config.uses_adapter()) return text + ", or adapter: lora instead of full fine-tuning";
  if (!config.load_in_4bit) return text + ", or adapter: qlora with load_in_4bit: true";
  return text + ", or a smaller lora_r (now " + std::to_string(config.lora_r) + ")";
}

void explaining_out_of_memory(const Config& config, const std::string& when,
                              const torch::Device& device, const std::function<void()>& body) {
  try {
    body();
  } catch (const std::exception& problem) {
    if (!is_out_of_memory(problem)) throw;
    throw Error(memory_advice(config, when, device));
  }
}

}  // namespace tune
