// The model on a GPU against the same model in main memory. Needs a LibTorch with CUDA.
#include <gtest/gtest.h>

#include "tests/tune/model/model_fixture.h"
#include "tune/model/device.h"
#include "tune/train/adamw.h"

namespace tune {
namespace {

class GpuModel : public ::testing::TestWithParam<regard::Module> {
 protected:
  void SetUp() override {
    if (!torch_has_gpu()) GTEST_SKIP() << "LibTorch sees no GPU, or was built without CUDA";
  }
};

ModelConfig gpu_config() {
  ModelConfig config = tiny_config();
  config.hidden_size = 64;
  config.head_dim = 16;
  return config;
}

double loss_after_steps(ModelOptions options, torch::Device device, int num_steps) {
  options.device = device;
  const auto model = LanguageModel::random(gpu_config(), options);
  AdamW optimizer(model->trainable_parameters(), {});
  const Batch batch = packed_row({some_ids(40, 1), some_ids(90, 2), some_ids(1, 3)});
  double last = 0.0;
  for (int i = 0; i < num_steps; ++i) {
    model->set_training(true, static_cast<uint64_t>(i));
    const torch::Tensor loss = model->loss_sum(batch);
    last = loss.item<double>();
    (loss / 128.0).backward();
    optimizer.step(1e-2, clip_factor(gradient_norm(optimizer.parameters()), 1.0));
    optimizer.clear_gradients();
    model->parameters_changed();
  }
  return last;
}

TEST_P(GpuModel, FewSteps_GiveTheLossOfMainMemory) {
  ModelOptions options;
  options.compute_dtype = torch::kBFloat16;
  for (const AdapterKind adapter : {AdapterKind::none, AdapterKind::lora, AdapterKind::qlora}) {
    if (adapter != AdapterKind::none) options = lora_options();
    options.attention = GetParam();
    options.sequence_len = 128;
    options.compute_dtype = torch::kBFloat16;
    options.adapter = adapter;
    options.load_in_4bit = adapter == AdapterKind::qlora;
    options.lora_dropout = adapter == AdapterKind::lora ? 0.1 : 0.0;
    const double expected = loss_after_steps(options, torch::kCPU, 5);
    const double found = loss_after_steps(options, default_device(), 5);
    EXPECT_NEAR(found, expected, 0.01 * expected) << static_cast<int>(adapter);
  }
}

TEST_P(GpuModel, Decoding_GivesTheLogitsOfMainMemory) {
  ModelOptions options;
  options.attention = GetParam();
  options.compute_dtype = torch::kBFloat16;
  std::vector<torch::Tensor> last;
  for (const torch::Device device : {torch::Device(torch::kCPU), default_device()}) {
    options.device = device;
    const auto model = LanguageModel::random(gpu_config(), options);
    const auto cache = model->new_cache(64);
    model->next_logits(some_ids(20, 1), *cache);
    last.push_back(model->next_logits(some_ids(1, 2), *cache));
  }
  EXPECT_LT(relative_error(last[1], last[0]), 0.03);
}

INSTANTIATE_TEST_SUITE_P(Modules, GpuModel,
                         ::testing::Values(regard::Module::eager, regard::Module::sdpa,
                                           regard::Module::flash_attention_2,
                                           regard::Module::xformers, regard::Module::flex_attention,
                                           regard::Module::sage),
                         [](const auto& test_info) {
                           return std::string(regard::module_info(test_info.param).name);
                         });

}  // namespace
}  // namespace tune
