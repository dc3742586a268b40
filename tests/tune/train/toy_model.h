// A LanguageModel small enough to train a hundred steps in a test: the logits of the next token are
// out * (embed[token] masked by dropout). Deterministic like the real one: dropout depends on the
// seed alone.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "tune/model/language_model.h"
#include "tune/tokenizer/tokenizer.h"

namespace tune::testing {

inline constexpr int64_t kToyVocabulary = 24, kToyHidden = 16;

class ToyModel : public LanguageModel {
 public:
  explicit ToyModel(AdapterKind adapter = AdapterKind::lora, double dropout = 0.0,
                    uint64_t seed = 7);

  const ModelConfig& config() const override { return config_; }
  const ModelOptions& options() const override { return options_; }
  torch::Tensor loss_sum(const Batch& batch) override;
  torch::Tensor logits(const Batch& batch) override;
  void set_training(bool is_training, uint64_t dropout_seed) override;
  std::vector<TrainableParameter> trainable_parameters() override;
  int64_t num_parameters() const override { return 2 * kToyVocabulary * kToyHidden; }
  void parameters_changed() override { ++num_changes; }
  std::shared_ptr<KvCache> new_cache(int64_t max_tokens) override;
  torch::Tensor next_logits(std::span<const int32_t> ids, KvCache& cache) override;
  void save_adapter(const std::string& folder, const std::string& base_model_name) override;
  void load_adapter(const std::string& folder) override;
  void save_model(const std::string& folder, torch::Dtype dtype, int64_t max_shard_bytes) override;

  // All parameters as bytes, to compare bit for bit.
  std::string parameter_bytes() const;

  // Faults a test can ask for: what the loss is multiplied by from this call of loss_sum on.
  int64_t fault_from_call = -1;
  double fault_factor = 1.0;
  bool fault_in_gradient = false;
  int64_t num_calls = 0, num_changes = 0;

 private:
  torch::Tensor hidden_of(const torch::Tensor& ids) const;
  void save_to(const std::string& path) const;

  ModelConfig config_;
  ModelOptions options_;
  torch::Tensor embed_, out_;
  bool is_training_ = false;
  uint64_t dropout_seed_ = 0;
};

// One id a letter; saves one small file.
class ToyTokenizer : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const override;
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const override;
  int32_t vocab_size() const override { return static_cast<int32_t>(kToyVocabulary); }
  std::optional<int32_t> token_id(std::string_view) const override { return std::nullopt; }
  std::string_view token_text(int32_t) const override { return "x"; }
  const SpecialTokens& special() const override { return special_; }
  const std::string& chat_template() const override { return template_; }
  std::string fingerprint() const override { return "toy"; }
  void save(const std::string& folder) const override;

 private:
  SpecialTokens special_{std::nullopt, 1, 0, std::nullopt};
  std::string template_;
};

}  // namespace tune::testing
