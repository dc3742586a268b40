#include "tests/tune/train/toy_model.h"

#include <random>

#include "tune/files/atomic_write.h"
#include "tune/files/safetensors.h"

namespace tune::testing {
namespace {

torch::Tensor random_matrix(uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> uniform(-0.5f, 0.5f);
  torch::Tensor matrix = torch::empty({kToyVocabulary, kToyHidden});
  for (int64_t i = 0; i < matrix.numel(); ++i) matrix.data_ptr<float>()[i] = uniform(random);
  return matrix.set_requires_grad(true);
}

std::vector<int64_t> wide(std::span<const int32_t> ids) { return {ids.begin(), ids.end()}; }

torch::Tensor as_tensor(const std::vector<int64_t>& values) {
  return torch::tensor(values, torch::kInt64);
}

}  // namespace

ToyModel::ToyModel(AdapterKind adapter, double dropout, uint64_t seed)
    : embed_(random_matrix(seed)), out_(random_matrix(seed + 1)) {
  config_.vocab_size = kToyVocabulary;
  config_.hidden_size = kToyHidden;
  options_.adapter = adapter;
  options_.lora_dropout = dropout;
}

torch::Tensor ToyModel::hidden_of(const torch::Tensor& ids) const {
  torch::Tensor hidden = embed_.index_select(0, ids);
  if (!is_training_ || options_.lora_dropout == 0.0) return hidden;
  std::mt19937_64 random(dropout_seed_);
  std::bernoulli_distribution keep(1.0 - options_.lora_dropout);
  torch::Tensor mask = torch::empty(hidden.sizes());
  for (int64_t i = 0; i < mask.numel(); ++i)
    mask.data_ptr<float>()[i] =
        keep(random) ? static_cast<float>(1.0 / (1.0 - options_.lora_dropout)) : 0.0f;
  return hidden * mask;
}

torch::Tensor ToyModel::loss_sum(const Batch& batch) {
  ++num_calls;
  std::vector<int64_t> inputs, labels;
  for (size_t i = 1; i < batch.labels.size(); ++i) {
    if (batch.labels[i] == kIgnoreLabel || batch.position_ids[i] == 0) continue;
    inputs.push_back(batch.input_ids[i - 1]);
    labels.push_back(batch.labels[i]);
  }
  const torch::Tensor logits = torch::matmul(hidden_of(as_tensor(inputs)), out_.t());
  const torch::Tensor picked =
      torch::log_softmax(logits, -1).gather(1, as_tensor(labels).unsqueeze(1));
  torch::Tensor loss = -picked.sum();
  if (fault_from_call < 0 || num_calls < fault_from_call) return loss;
  // A finite value whose gradient is not: sqrt has an infinite derivative at 0.
  if (fault_in_gradient) return loss.detach() + torch::sqrt(embed_.sum() * 0.0);
  return loss * fault_factor;
}

torch::Tensor ToyModel::logits(const Batch& batch) {
  torch::NoGradGuard no_grad;
  const torch::Tensor rows = torch::matmul(hidden_of(as_tensor(wide(batch.input_ids))), out_.t());
  return rows.view({batch.num_rows, batch.row_length, kToyVocabulary});
}

void ToyModel::set_training(bool is_training, uint64_t dropout_seed) {
  is_training_ = is_training;
  dropout_seed_ = dropout_seed;
}

std::vector<TrainableParameter> ToyModel::trainable_parameters() {
  return {{"toy.embed.weight", embed_, true}, {"toy.out.weight", out_, false}};
}

// The toy has no memory: its cache is an address that nobody reads.
std::shared_ptr<KvCache> ToyModel::new_cache(int64_t) {
  const auto owner = std::make_shared<int>(0);
  return {owner, reinterpret_cast<KvCache*>(owner.get())};
}

torch::Tensor ToyModel::next_logits(std::span<const int32_t> ids, KvCache&) {
  torch::NoGradGuard no_grad;
  return torch::matmul(hidden_of(as_tensor(wide(ids.last(1)))), out_.t()).squeeze(0);
}

void ToyModel::save_to(const std::string& path) const {
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, tensor] :
       {std::pair("toy.embed.weight", embed_), std::pair("toy.out.weight", out_)})
    tensors.push_back({name, StoredType::f32, tensor.sizes().vec(),
                       std::span(static_cast<const std::byte*>(tensor.data_ptr()),
                                 static_cast<size_t>(tensor.nbytes()))});
  write_safetensors(path, tensors);
}

void ToyModel::save_adapter(const std::string& folder, const std::string&) {
  save_to(folder + "/adapter_model.safetensors");
}

void ToyModel::load_adapter(const std::string&) {}

void ToyModel::save_model(const std::string& folder, torch::Dtype, int64_t) {
  save_to(folder + "/model.safetensors");
}

std::string ToyModel::parameter_bytes() const {
  std::string bytes;
  for (const torch::Tensor& tensor : {embed_, out_})
    bytes.append(static_cast<const char*>(tensor.data_ptr()), static_cast<size_t>(tensor.nbytes()));
  return bytes;
}

std::vector<int32_t> ToyTokenizer::encode(std::string_view text, bool) const {
  std::vector<int32_t> ids;
  for (const char c : text)
    ids.push_back(2 + static_cast<int32_t>(static_cast<unsigned char>(c) % (kToyVocabulary - 2)));
  return ids;
}

std::string ToyTokenizer::decode(std::span<const int32_t> ids, bool) const {
  std::string text;
  for (const int32_t id : ids) text += static_cast<char>('a' + id);
  return text;
}

void ToyTokenizer::save(const std::string& folder) const {
  write_file_atomically(folder + "/tokenizer.json", "{}\n");
}

}  // namespace tune::testing
