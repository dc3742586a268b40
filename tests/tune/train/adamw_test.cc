#include "tune/train/adamw.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <limits>

#include "tune/error.h"

namespace tune {
namespace {

TrainableParameter parameter_of(const torch::Tensor& tensor, bool decays = true) {
  return {"p", tensor.clone().set_requires_grad(true), decays};
}

// Loshchilov and Hutter 2019, Algorithm 2, in double.
struct DoubleAdamW {
  double first = 0.0, second = 0.0, parameter = 0.0;
  void step(double g, double rate, const AdamWOptions& o, int t) {
    parameter -= rate * o.weight_decay * parameter;
    first = o.beta1 * first + (1 - o.beta1) * g;
    second = o.beta2 * second + (1 - o.beta2) * g * g;
    const double m = first / (1 - std::pow(o.beta1, t)), v = second / (1 - std::pow(o.beta2, t));
    parameter -= rate * m / (std::sqrt(v) + o.epsilon);
  }
};

TEST(AdamW, FiveSteps_MatchTorchOptim) {
  // torch.optim.AdamW(lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
  const float expected[5][4] = {{0.489500016f, -1.23874998f, 3.00699949f, -0.00900099985f},
                                {0.479430646f, -1.2281183f, 3.01338482f, -0.0183849297f},
                                {0.469506115f, -1.21953559f, 3.01772547f, -0.027244281f},
                                {0.459628135f, -1.21524048f, 3.01778316f, -0.0356494412f},
                                {0.449751973f, -1.21550679f, 3.01328397f, -0.0436535552f}};
  TrainableParameter parameter = parameter_of(torch::tensor({0.5f, -1.25f, 3.0f, 0.001f}));
  AdamW optimizer({parameter}, {0.9, 0.95, 1e-8, 0.1});
  for (int i = 0; i < 5; ++i) {
    const auto step = static_cast<float>(i);
    parameter.tensor.mutable_grad() =
        torch::tensor({0.3f * (step + 1), -2.0f + step, 1e-4f * (step - 2), 5.0f / (step + 1)});
    optimizer.step(1e-2, 1.0);
    for (int j = 0; j < 4; ++j)
      EXPECT_NEAR(parameter.tensor.data_ptr<float>()[j], expected[i][j],
                  4e-7 * std::max(1.0f, std::abs(expected[i][j])))
          << "step " << i << " element " << j;
  }
}

TEST(AdamW, ManyElements_MatchFormulaInDouble) {
  const AdamWOptions options{0.9, 0.999, 1e-8, 0.05};
  const int64_t count = 40'003;  // several chunks and a rest that fills no vector
  torch::manual_seed(1);
  const torch::Tensor start = torch::randn({count});
  TrainableParameter parameter = parameter_of(start);
  AdamW optimizer({parameter}, options);
  std::vector<DoubleAdamW> reference(count);
  for (int64_t i = 0; i < count; ++i) reference[i].parameter = start.data_ptr<float>()[i];
  for (int t = 1; t <= 20; ++t) {
    const torch::Tensor gradient = torch::randn({count}) * (t % 3 == 0 ? 10.0 : 0.1);
    parameter.tensor.mutable_grad() = gradient;
    optimizer.step(3e-3, 0.5);
    for (int64_t i = 0; i < count; ++i)
      reference[i].step(0.5 * gradient.data_ptr<float>()[i], 3e-3, options, t);
  }
  double worst = 0.0;
  for (int64_t i = 0; i < count; ++i)
    worst =
        std::max(worst, std::abs(parameter.tensor.data_ptr<float>()[i] - reference[i].parameter));
  // 20 roundings of values up to 4: 20 * 4 * 2^-24 = 4.8e-6.
  EXPECT_LT(worst, 4.8e-6);
}

TEST(AdamW, ParameterWithoutDecay_OnlyFollowsTheGradient) {
  TrainableParameter with = parameter_of(torch::ones({4})),
                     without = parameter_of(torch::ones({4}), false);
  AdamW optimizer({with, without}, {0.9, 0.999, 1e-8, 0.5});
  with.tensor.mutable_grad() = torch::zeros({4});
  without.tensor.mutable_grad() = torch::zeros({4});
  optimizer.step(0.1, 1.0);
  EXPECT_FLOAT_EQ(with.tensor[0].item<float>(), 0.95f);
  EXPECT_FLOAT_EQ(without.tensor[0].item<float>(), 1.0f);
}

TEST(AdamW, ParameterWithoutGradient_IsLeftAlone) {
  TrainableParameter parameter = parameter_of(torch::ones({4}));
  AdamW optimizer({parameter}, {0.9, 0.999, 1e-8, 0.5});
  optimizer.step(0.1, 1.0);
  EXPECT_EQ(parameter.tensor[0].item<float>(), 1.0f);
}

TEST(AdamW, HalfPrecisionParameter_IsRefusedByName) {
  EXPECT_THROW(AdamW({{"layer.weight", torch::ones({2}, torch::kBFloat16), true}}, {}), Error);
}

TEST(GradientNorm, AnyNumberOfThreads_GivesTheSameBits) {
  torch::manual_seed(2);
  TrainableParameter parameter = parameter_of(torch::zeros({70'001}));
  parameter.tensor.mutable_grad() = torch::randn({70'001});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const double one = gradient_norm({parameter});
  at::set_num_threads(2);
  const double two = gradient_norm({parameter});
  at::set_num_threads(before);
  EXPECT_EQ(one, two);
  EXPECT_NEAR(one, parameter.tensor.grad().to(torch::kFloat64).norm().item<double>(), 1e-9);
}

TEST(GradientNorm, InfiniteOrMissingGradients_AreSeen) {
  TrainableParameter parameter = parameter_of(torch::zeros({9}));
  EXPECT_EQ(gradient_norm({parameter}), 0.0);
  parameter.tensor.mutable_grad() = torch::zeros({9});
  parameter.tensor.mutable_grad()[8] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isinf(gradient_norm({parameter})));
  parameter.tensor.mutable_grad()[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(gradient_norm({parameter})));
}

TEST(ClipFactor, Norms_AreBroughtToTheLimit) {
  EXPECT_EQ(clip_factor(0.5, 1.0), 1.0);
  EXPECT_NEAR(clip_factor(4.0, 1.0), 0.25, 1e-6);
  EXPECT_EQ(clip_factor(400.0, 0.0), 1.0);
}

}  // namespace
}  // namespace tune
