#include "tune/train/training_state.h"

#include <torch/csrc/autograd/grad_mode.h>
#include <torch/types.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "tune/error.h"
#include "tune/files/atomic_write.h"
#include "tune/files/safetensors.h"

namespace tune {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kStateFile = "trainer_state.json";
constexpr const char* kOptimizerFile = "optimizer.safetensors";

std::string in_folder(const std::string& folder, const char* name) {
  return (fs::path(folder) / name).string();
}

// Tensors to write, with the memory they are written from.
struct HostTensors {
  std::vector<torch::Tensor> values;
  std::vector<TensorToWrite> tensors;

  void add(std::string name, const torch::Tensor& tensor) {
    values.push_back(tensor.detach().to(torch::kCPU));
    const auto* bytes = static_cast<const std::byte*>(values.back().data_ptr());
    tensors.push_back({std::move(name), StoredType::f32, tensor.sizes().vec(),
                       std::span(bytes, static_cast<size_t>(tensor.nbytes()))});
  }
};

json evaluation_to_json(const std::optional<EvalRecord>& record) {
  if (!record) return nullptr;
  return {{"step", record->step},       {"epoch", record->epoch},
          {"loss", record->loss},       {"perplexity", record->perplexity},
          {"seconds", record->seconds}, {"num_tokens", record->num_tokens}};
}

// JSON has no NaN or infinity: the loss of rows without labels is written as null.
double number_of(const json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

std::optional<EvalRecord> evaluation_from_json(const json& text) {
  if (text.is_null()) return std::nullopt;
  EvalRecord record;
  text.at("step").get_to(record.step);
  text.at("epoch").get_to(record.epoch);
  record.loss = number_of(text.at("loss"));
  record.perplexity = number_of(text.at("perplexity"));
  text.at("seconds").get_to(record.seconds);
  text.at("num_tokens").get_to(record.num_tokens);
  return record;
}

json state_to_json(const TrainingState& state) {
  return {{"global_step", state.step},
          {"max_steps", state.num_steps},
          {"epoch", state.epoch_progress},
          {"regard",
           {{"epoch", state.epoch},
            {"step_in_epoch", state.step_in_epoch},
            {"tokens_seen", state.tokens_seen},
            {"trainable_tokens_seen", state.trainable_tokens_seen},
            {"loss_total", state.loss_total},
            {"last_loss", state.last_loss},
            {"steps_with_loss", state.steps_with_loss},
            {"steps_at_zero", state.watch.steps_at_zero},
            {"steps_above_threshold", state.watch.steps_above_threshold},
            {"evaluation_due", state.evaluation_due},
            {"last_evaluation", evaluation_to_json(state.last_evaluation)},
            {"run_id", state.run_id},
            {"identity", state.identity}}}};
}

TrainingState state_from_json(const json& text) {
  TrainingState state;
  text.at("global_step").get_to(state.step);
  text.at("max_steps").get_to(state.num_steps);
  text.at("epoch").get_to(state.epoch_progress);
  const json& own = text.at("regard");
  own.at("epoch").get_to(state.epoch);
  own.at("step_in_epoch").get_to(state.step_in_epoch);
  own.at("tokens_seen").get_to(state.tokens_seen);
  own.at("trainable_tokens_seen").get_to(state.trainable_tokens_seen);
  own.at("loss_total").get_to(state.loss_total);
  own.at("last_loss").get_to(state.last_loss);
  own.at("steps_with_loss").get_to(state.steps_with_loss);
  own.at("steps_at_zero").get_to(state.watch.steps_at_zero);
  own.at("steps_above_threshold").get_to(state.watch.steps_above_threshold);
  own.at("evaluation_due").get_to(state.evaluation_due);
  state.last_evaluation = evaluation_from_json(own.at("last_evaluation"));
  own.at("run_id").get_to(state.run_id);
  own.at("identity").get_to(state.identity);
  return state;
}

void read_tensor(const TensorFile& file, const std::string& name, const torch::Tensor& out) {
  const StoredTensor* stored = file.find(name);
  if (stored == nullptr)
    throw Error(file.path() + " holds no tensor " + name +
                "; the checkpoint belongs to another model or adapter");
  if (stored->type != StoredType::f32 || stored->shape != out.sizes().vec())
    throw Error(file.path() + ": tensor " + name +
                " has another shape or type than the model's parameter");
  out.detach().copy_(torch::from_blob(const_cast<std::byte*>(stored->bytes.data()), stored->shape,
                                      torch::kFloat32));
}

}  // namespace

void save_training_state(const std::string& folder, const TrainingState& state,
                         const AdamW& optimizer, bool with_masters) {
  HostTensors host;
  for (size_t i = 0; i < optimizer.parameters().size(); ++i) {
    const TrainableParameter& parameter = optimizer.parameters()[i];
    host.add("exp_avg." + parameter.name, optimizer.first_moments()[i]);
    host.add("exp_avg_sq." + parameter.name, optimizer.second_moments()[i]);
    if (with_masters) host.add("master." + parameter.name, parameter.tensor);
  }
  write_safetensors(in_folder(folder, kOptimizerFile), host.tensors,
                    {{"format", "pt"}, {"num_updates", std::to_string(optimizer.num_updates())}});
  json text = state_to_json(state);
  text["regard"]["num_updates"] = optimizer.num_updates();
  text["regard"]["with_masters"] = with_masters;
  write_file_atomically(in_folder(folder, kStateFile), text.dump(1) + "\n");
}

TrainingState load_training_state(const std::string& folder) {
  const std::string path = in_folder(folder, kStateFile);
  try {
    return state_from_json(json::parse(read_file(path)));
  } catch (const json::exception& problem) {
    throw Error(path + " is not the state of a training run: " + problem.what());
  }
}

void load_optimizer(const std::string& folder, AdamW& optimizer) {
  torch::NoGradGuard no_grad;
  const json own = json::parse(read_file(in_folder(folder, kStateFile))).at("regard");
  const bool with_masters = own.at("with_masters").get<bool>();
  const std::unique_ptr<TensorFile> moments = open_safetensors(in_folder(folder, kOptimizerFile));
  std::unique_ptr<TensorFile> weights;
  if (!with_masters) weights = open_safetensors_folder(folder);
  for (size_t i = 0; i < optimizer.parameters().size(); ++i) {
    const TrainableParameter& parameter = optimizer.parameters()[i];
    read_tensor(*moments, "exp_avg." + parameter.name, optimizer.first_moments()[i]);
    read_tensor(*moments, "exp_avg_sq." + parameter.name, optimizer.second_moments()[i]);
    if (with_masters)
      read_tensor(*moments, "master." + parameter.name, parameter.tensor);
    else
      read_tensor(*weights, parameter.name, parameter.tensor);
  }
  optimizer.set_num_updates(own.at("num_updates").get<int64_t>());
}

}  // namespace tune
