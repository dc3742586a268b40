// The models of tests/data/models/reference against what Transformers and PEFT computed for them.
#include <gtest/gtest.h>

#include "tests/tune/model/model_fixture.h"

namespace tune {
namespace {

torch::Tensor tensor_of(const TensorFile& file, const std::string& name) {
  const StoredTensor* stored = file.find(name);
  if (stored == nullptr) throw std::runtime_error("no tensor " + name);
  const torch::Tensor tensor = torch::empty(stored->shape, torch::kFloat32);
  dequantize(*stored, 0, {tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())});
  return tensor;
}

std::vector<int32_t> ints_of(const TensorFile& file, const std::string& name) {
  const StoredTensor* stored = file.find(name);
  std::vector<int32_t> values(static_cast<size_t>(stored->num_elements()));
  std::memcpy(values.data(), stored->bytes.data(), stored->bytes.size());
  return values;
}

struct Case {
  std::string model;
  regard::Module module;
};

class Reference : public testing::TestWithParam<Case> {
 protected:
  Reference()
      : folder_(std::string(REGARD_TEST_DATA) + "/models/reference/" + GetParam().model),
        expected_(open_safetensors(folder_ + "/expected.safetensors")) {
    batch_.num_rows = 1;
    batch_.input_ids = ints_of(*expected_, "input_ids");
    batch_.labels = ints_of(*expected_, "labels");
    batch_.position_ids = ints_of(*expected_, "position_ids");
    batch_.document_offsets = ints_of(*expected_, "document_offsets");
    batch_.row_length = static_cast<int64_t>(batch_.input_ids.size());
  }

  std::unique_ptr<LanguageModel> open(bool with_adapter) const {
    ModelOptions options;
    options.attention = GetParam().module;
    if (with_adapter) read_adapter_config(folder_ + "/adapter", options);
    auto model = LanguageModel::load(*open_model(folder_), options);
    if (with_adapter) model->load_adapter(folder_ + "/adapter");
    return model;
  }

  std::string folder_;
  std::unique_ptr<TensorFile> expected_;
  Batch batch_;
};

TEST_P(Reference, BaseModel_GivesTransformersLogits) {
  const torch::Tensor logits = open(false)->logits(batch_)[0];
  EXPECT_LT(largest_difference(logits, tensor_of(*expected_, "base_logits")), 1e-4);
}

TEST_P(Reference, WithAdapter_GivesPeftLogits) {
  const torch::Tensor logits = open(true)->logits(batch_)[0];
  EXPECT_LT(largest_difference(logits, tensor_of(*expected_, "logits")), 1e-4);
}

TEST_P(Reference, LossAndGradients_ArePeft) {
  const auto model = open(true);
  const torch::Tensor loss = model->loss_sum(batch_);
  loss.backward();
  const double expected = tensor_of(*expected_, "loss_sum").item<double>();
  EXPECT_NEAR(loss.item<double>(), expected, 1e-5 * expected);
  for (auto& parameter : model->trainable_parameters()) {
    const torch::Tensor gradient = tensor_of(*expected_, "grad." + parameter.name);
    EXPECT_LT(relative_error(parameter.tensor.grad(), gradient), 1e-4) << parameter.name;
  }
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const char* model : {"llama", "llama3_tied", "mistral", "qwen2", "qwen3"}) {
    for (const auto module :
         {regard::Module::sdpa, regard::Module::flash_attention_2, regard::Module::eager}) {
      cases.push_back({model, module});
    }
  }
  return cases;
}

std::string case_name(const testing::TestParamInfo<Case>& test) {
  return test.param.model + "_" + std::string(regard::module_info(test.param.module).name);
}

INSTANTIATE_TEST_SUITE_P(Models, Reference, testing::ValuesIn(all_cases()), case_name);

}  // namespace
}  // namespace tune
