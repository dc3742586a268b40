#include "tune/model/flex_programs.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>

#include "tune/error.h"
#include "tune/files/safetensors.h"

namespace tune {
namespace {

constexpr int64_t kMaxRank = 4;

torch::Tensor tensor_of(const std::vector<float>& values) {
  const torch::Tensor tensor = torch::empty({static_cast<int64_t>(values.size())}, torch::kFloat32);
  std::copy(values.begin(), values.end(), tensor.data_ptr<float>());
  return tensor;
}

// "tables.safetensors#bias"
struct Location {
  std::string file, name;
};
Location location_of(const FlexTensorSource& source) {
  const size_t hash = source.from.rfind('#');
  if (hash == std::string::npos) {
    throw UsageError("flex_tensors." + source.name + ": \"" + source.from +
                     "\" is no tensor; write alibi, or FILE.safetensors#name");
  }
  return {source.from.substr(0, hash), source.from.substr(hash + 1)};
}

torch::Tensor integers_of(const StoredTensor& stored) {
  const auto dtype = stored.type == StoredType::i64 ? torch::kInt64 : torch::kInt32;
  const torch::Tensor values =
      torch::from_blob(const_cast<std::byte*>(stored.bytes.data()), stored.shape, dtype);
  return values.to(torch::kInt32).clone();
}

torch::Tensor reals_of(const StoredTensor& stored) {
  const torch::Tensor values = torch::empty(stored.shape, torch::kFloat32);
  dequantize(stored, 0, {values.data_ptr<float>(), static_cast<size_t>(values.numel())});
  return values;
}

std::unique_ptr<TensorFile> open_file(const FlexTensorSource& source, const std::string& path) {
  try {
    return open_safetensors(path);
  } catch (const Error& error) {
    throw UsageError("flex_tensors." + source.name + ": " + error.what());
  }
}

torch::Tensor load_tensor(const FlexTensorSource& source, int64_t num_heads) {
  if (source.from == "alibi") return tensor_of(alibi_slopes(num_heads));
  const Location location = location_of(source);
  const auto file = open_file(source, location.file);
  const StoredTensor* stored = file->find(location.name);
  if (stored == nullptr) {
    throw UsageError("flex_tensors." + source.name + ": " + location.file + " has no tensor '" +
                     location.name + "'");
  }
  const auto rank = static_cast<int64_t>(stored->shape.size());
  if (rank < 1 || rank > kMaxRank) {
    throw UsageError("flex_tensors." + source.name + " has " + std::to_string(rank) +
                     " axes: a program reads tensors of 1 to 4");
  }
  const bool is_integer = stored->type == StoredType::i32 || stored->type == StoredType::i64;
  if (is_integer && source.is_trained) {
    throw UsageError("flex_tensors." + source.name +
                     " holds integers and cannot be trained; remove trainable: true");
  }
  return is_integer ? integers_of(*stored) : reals_of(*stored);
}

bool is_power_of_two(int64_t value) { return (value & (value - 1)) == 0; }

}  // namespace

std::vector<float> alibi_slopes(int64_t num_heads) {
  int64_t power = 1;
  while (2 * power <= num_heads) power *= 2;
  std::vector<float> slopes;
  for (int64_t i = 1; i <= power; ++i) {
    slopes.push_back(
        static_cast<float>(std::exp2(-8.0 * static_cast<double>(i) / static_cast<double>(power))));
  }
  if (is_power_of_two(num_heads)) return slopes;
  for (int64_t i = 1; static_cast<int64_t>(slopes.size()) < num_heads; i += 2) {
    slopes.push_back(
        static_cast<float>(std::exp2(-4.0 * static_cast<double>(i) / static_cast<double>(power))));
  }
  return slopes;
}

FlexPrograms::FlexPrograms(const FlexOptions& options, int64_t num_heads,
                           const torch::Device& device)
    : sources_(options.tensors) {
  for (const FlexTensorSource& source : sources_) {
    tensors_.push_back(load_tensor(source, num_heads).to(device));
    trained_index_.push_back(source.is_trained ? static_cast<int64_t>(trained_.size()) : -1);
    if (!source.is_trained) continue;
    Parameter parameter;
    parameter.name = "flex_tensors." + source.name;
    parameter.shape = tensors_.back().sizes().vec();
    parameter.train(tensors_.back(), torch::kFloat32);
    trained_.push_back(std::move(parameter));
  }
  if (!options.score_mod.empty()) {
    score_ = compile(options.score_mod, regard::ProgramKind::score, "flex_score_mod");
  }
  if (!options.mask_mod.empty()) {
    mask_ = compile(options.mask_mod, regard::ProgramKind::mask, "flex_mask_mod");
  }
  check_trained_are_read();
}

regard::ProgramTensor FlexPrograms::memory_of(const torch::Tensor& tensor) const {
  regard::ProgramTensor memory;
  memory.data = tensor.data_ptr();
  memory.is_integer = tensor.scalar_type() == torch::kInt32;
  memory.rank = static_cast<int32_t>(tensor.dim());
  for (int64_t axis = 0; axis < tensor.dim(); ++axis) {
    memory.shape[axis] = tensor.size(axis);
    memory.stride[axis] = tensor.stride(axis);
  }
  return memory;
}

FlexPrograms::Bound FlexPrograms::compile(const std::string& text, regard::ProgramKind kind,
                                          const char* key) const {
  std::vector<regard::TensorInfo> infos;
  for (size_t i = 0; i < sources_.size(); ++i) {
    const bool is_integer = tensors_[i].scalar_type() == torch::kInt32;
    infos.push_back({sources_[i].name,
                     is_integer ? regard::ElementType::integer : regard::ElementType::real,
                     static_cast<int32_t>(tensors_[i].dim())});
  }
  const regard::ParsedProgram parsed = regard::parse_program(text, kind, infos);
  if (parsed.fault) {
    throw UsageError(std::string(key) + ", character " + std::to_string(parsed.fault->position) +
                     ": " + parsed.fault->message);
  }
  // Without the list of declared names, so that only tensors that are read are bound.
  Bound bound{regard::Program(kind, parsed.program->result()), {}, {}};
  for (const regard::TensorInfo& info : bound.program.tensors()) {
    const auto source = std::find_if(sources_.begin(), sources_.end(),
                                     [&](const auto& each) { return each.name == info.name; });
    const auto index = static_cast<size_t>(source - sources_.begin());
    bound.sources.push_back(index);
    bound.memory.push_back(memory_of(tensors_[index]));
  }
  return bound;
}

void FlexPrograms::check_trained_are_read() const {
  for (const FlexTensorSource& source : sources_) {
    if (!source.is_trained || (score_ && score_->program.tensor_index(source.name) >= 0)) continue;
    throw UsageError("flex_tensors." + source.name +
                     " is trainable, but flex_score_mod does not read it, so it has no gradient; "
                     "use it there or remove trainable: true");
  }
}

void FlexPrograms::bind(int64_t first_query, regard::AttentionOptions& options) const {
  const auto bound = [&](const Bound& each) {
    return regard::BoundProgram{&each.program, each.memory.data(),
                                static_cast<int32_t>(each.memory.size())};
  };
  options.first_query = first_query;
  if (score_) options.score_program = bound(*score_);
  if (mask_) options.mask_program = bound(*mask_);
}

torch::Tensor FlexPrograms::trained_values() const {
  if (trained_.empty()) return torch::empty({0}, torch::kFloat32);
  std::vector<torch::Tensor> flat;
  for (const Parameter& parameter : trained_) flat.push_back(parameter.master.reshape({-1}));
  return torch::cat(flat);
}

std::vector<float*> FlexPrograms::gradient_places(float* flat) const {
  std::vector<float*> begins;
  for (const Parameter& parameter : trained_) {
    begins.push_back(flat);
    flat += parameter.num_elements();
  }
  std::vector<float*> places;
  for (const size_t source : score_->sources) {
    const int64_t index = trained_index_[source];
    places.push_back(index < 0 ? nullptr : begins[static_cast<size_t>(index)]);
  }
  return places;
}

void FlexPrograms::save(const std::string& folder) const {
  if (trained_.empty()) return;
  std::vector<torch::Tensor> masters;  // keeps the bytes alive until they are written
  std::vector<TensorToWrite> tensors;
  for (const Parameter& parameter : trained_) {
    masters.push_back(parameter.master.detach().to(torch::kCPU));
    tensors.push_back(
        {parameter.name.substr(parameter.name.find('.') + 1),
         StoredType::f32,
         parameter.shape,
         {static_cast<const std::byte*>(masters.back().data_ptr()), masters.back().nbytes()}});
  }
  write_safetensors((std::filesystem::path(folder) / kFlexTensorsFile).string(), tensors);
}

}  // namespace tune
