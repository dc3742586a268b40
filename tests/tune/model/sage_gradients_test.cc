// What training with int8 scores is known to fail at elsewhere: Q, K and V projections without a
// gradient, or with a wrong one.
#include <gtest/gtest.h>

#include <string>

#include "tests/tune/model/model_fixture.h"
#include "tune/model/language_model.h"

namespace tune {
namespace {

double cosine(const torch::Tensor& a, const torch::Tensor& b) {
  const double sizes = a.norm().item<double>() * b.norm().item<double>();
  return (a * b).sum().item<double>() / std::max(sizes, 1e-30);
}

bool is_attention_input(const std::string& name) {
  for (const char* projection : {".q_proj.", ".k_proj.", ".v_proj."}) {
    if (name.find(projection) != std::string::npos) return true;
  }
  return false;
}

std::vector<torch::Tensor> gradients_with(regard::Module attention, ModelOptions options,
                                          const Batch& batch) {
  options.attention = attention;
  const auto model = LanguageModel::random(tiny_config(), options);
  if (options.adapter == AdapterKind::lora) wake_adapter(*model);
  model->set_training(true, 3);
  return gradients(*model, batch);
}

// Gradients of one step with sage beside those with eager, for `count` tensors.
void expect_gradients_of_eager(const ModelOptions& options, int count) {
  // Longer than a scale's 64 keys, than an int8 tile of 128 queries, and a document of one token.
  const Batch batch = packed_row({some_ids(170, 1), some_ids(1, 2), some_ids(90, 3)});
  const auto eager = gradients_with(regard::Module::eager, options, batch);
  const auto sage = gradients_with(regard::Module::sage, options, batch);
  const auto model = LanguageModel::random(tiny_config(), options);
  const std::vector<TrainableParameter> parameters = model->trainable_parameters();
  ASSERT_EQ(sage.size(), parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!is_attention_input(parameters[i].name)) continue;
    --count;
    EXPECT_GT(eager[i].norm().item<double>(), 0) << parameters[i].name;
    EXPECT_GE(cosine(sage[i], eager[i]), 0.99) << parameters[i].name;
    EXPECT_LE(relative_error(sage[i], eager[i]), 0.1) << parameters[i].name;
    EXPECT_FALSE(torch::equal(sage[i], eager[i])) << parameters[i].name << ": was it sage?";
    ::testing::Test::RecordProperty(parameters[i].name, std::to_string(cosine(sage[i], eager[i])));
  }
  EXPECT_EQ(count, 0) << "tensors of projections not found";
}

TEST(SageGradients, FullFineTuning_ProjectionsGetThoseOfEager) {
  expect_gradients_of_eager({}, 2 * 3);  // layers, projections
}

TEST(SageGradients, Bf16_ProjectionsGetThoseOfEager) {
  ModelOptions options;
  options.compute_dtype = torch::kBFloat16;
  expect_gradients_of_eager(options, 2 * 3);
}

TEST(SageGradients, Lora_ProjectionsGetThoseOfEager) {
  expect_gradients_of_eager(lora_options(), 2 * 3 * 2);  // A and B
}

}  // namespace
}  // namespace tune
