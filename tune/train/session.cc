#include "tune/train/session.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <filesystem>

#include "regard/attention.h"
#include "tune/error.h"
#include "tune/files/model_source.h"
#include "tune/model/attention_probe.h"
#include "tune/model/device.h"
#include "tune/train/out_of_memory.h"

namespace tune {
namespace {

namespace fs = std::filesystem;

AdapterKind adapter_kind(const std::string& name) {
  if (name == "lora") return AdapterKind::lora;
  if (name == "qlora") return AdapterKind::qlora;
  return AdapterKind::none;
}

FlexOptions flex_options(const Config& config) {
  FlexOptions options{config.flex_score_mod, config.flex_mask_mod, {}};
  for (const auto& [name, tensor] : config.flex_tensors) {
    options.tensors.push_back({name, tensor.from, tensor.trainable});
  }
  return options;
}

// Trained tensors of the programs come from where training left them.
void use_trained_tensors(const std::string& folder, FlexOptions& options) {
  const std::string file = (fs::path(folder) / kFlexTensorsFile).string();
  for (FlexTensorSource& tensor : options.tensors) {
    if (tensor.is_trained) tensor.from = file + "#" + tensor.name;
  }
}

int64_t vocabulary(const ModelConfig& model, const Tokenizer& tokenizer) {
  return std::max<int64_t>(model.vocab_size, tokenizer.vocab_size());
}

std::unique_ptr<LanguageModel> open_base(const Config& config, const ModelOptions& options,
                                         const Tokenizer& tokenizer, const LoadProgress& progress,
                                         bool is_training = false) {
  std::unique_ptr<LanguageModel> model;
  explaining_out_of_memory(config, "loading the model", options.device, [&] {
    if (config.random_init_weights) {
      ModelConfig shape = read_model_config(config.base_model);
      shape.vocab_size = vocabulary(shape, tokenizer);
      probe_attention(shape, options, is_training);
      model = LanguageModel::random(shape, options);
      return;
    }
    const std::unique_ptr<ModelSource> source = open_model(config.base_model);
    probe_attention(source->config(), options, is_training);
    model =
        LanguageModel::load(*source, options, vocabulary(source->config(), tokenizer), progress);
  });
  return model;
}

}  // namespace

regard::Machine training_machine() {
  return default_device().is_cuda() ? regard::detect_machine() : regard::detect_cpu_machine();
}

void use_threads(const Config& config) {
  if (config.num_threads <= 0) return;
  regard::set_num_threads(static_cast<int>(config.num_threads));
  at::set_num_threads(static_cast<int>(config.num_threads));
}

std::unique_ptr<Tokenizer> open_tokenizer(const Config& config) {
  const std::string& name =
      config.tokenizer_config.empty() ? config.base_model : config.tokenizer_config;
  const std::string path = locate_model(name);
  const bool is_gguf = fs::path(path).extension() == ".gguf";
  std::unique_ptr<Tokenizer> tokenizer =
      is_gguf ? load_tokenizer(*open_model(path))
              : load_tokenizer_json((fs::path(path) / "tokenizer.json").string());
  return apply_changes(std::move(tokenizer), {config.special_tokens, config.tokens});
}

ModelOptions model_options(const Config& config) {
  ModelOptions options;
  options.attention = config.attention;
  options.sequence_len = config.sequence_len;
  options.flex = flex_options(config);
  options.device = default_device();
  options.compute_dtype = config.uses_bf16() ? torch::kBFloat16 : torch::kFloat32;
  options.gradient_checkpointing = config.gradient_checkpointing;
  options.adapter = adapter_kind(config.adapter);
  options.load_in_4bit = config.load_in_4bit;
  options.lora_r = config.lora_r;
  options.lora_alpha = config.lora_alpha;
  options.lora_dropout = config.lora_dropout;
  options.lora_target_modules = config.lora_target_modules;
  options.lora_target_linear = config.lora_target_linear;
  options.modules_to_save = config.lora_modules_to_save;
  options.seed = static_cast<uint64_t>(config.seed);
  return options;
}

std::unique_ptr<LanguageModel> open_model_for_training(const Config& config,
                                                       const Tokenizer& tokenizer,
                                                       const LoadProgress& progress) {
  std::unique_ptr<LanguageModel> model =
      open_base(config, model_options(config), tokenizer, progress, /*is_training=*/true);
  if (!config.lora_model_dir.empty()) model->load_adapter(config.lora_model_dir);
  return model;
}

std::string trained_adapter_folder(const Config& config) {
  for (const std::string& folder : {config.output_dir, config.lora_model_dir}) {
    if (!folder.empty() && fs::exists(fs::path(folder) / "adapter_model.safetensors"))
      return folder;
  }
  throw UsageError(config.output_dir +
                   " holds no adapter_model.safetensors: train first, or name the folder that does "
                   "with --lora_model_dir");
}

std::unique_ptr<LanguageModel> open_trained_model(const Config& config, const Tokenizer& tokenizer,
                                                  bool with_adapter, const LoadProgress& progress) {
  ModelOptions options = model_options(config);
  if (!with_adapter) {
    options.adapter = AdapterKind::none;
    return open_base(config, options, tokenizer, progress);
  }
  if (config.uses_adapter()) {
    const std::string folder = trained_adapter_folder(config);
    read_adapter_config(folder, options);
    use_trained_tensors(folder, options.flex);
    std::unique_ptr<LanguageModel> model = open_base(config, options, tokenizer, progress);
    model->load_adapter(folder);
    return model;
  }
  if (!fs::exists(fs::path(config.output_dir) / "config.json")) {
    throw UsageError(config.output_dir +
                     " holds no trained model: train first, or name the folder with --output_dir");
  }
  use_trained_tensors(config.output_dir, options.flex);
  const std::unique_ptr<ModelSource> source = open_model(config.output_dir);
  return LanguageModel::load(*source, options, 0, progress);
}

}  // namespace tune
