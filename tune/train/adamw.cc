#include "tune/train/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/grad_mode.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "tune/error.h"
#include "tune/model/row_ops.h"

namespace tune {
namespace {

// 16 K floats = 64 KiB: four such streams (parameter, gradient, two moments) stay in a 256 KiB L2,
// and a task is long enough (about 20 us) that handing it to a thread costs nothing.
constexpr int64_t kChunk = 16 * 1024;

void update_chunk(float* parameter, const float* gradient, float* first, float* second,
                  int64_t count, const rows::AdamWScalars& s) {
  for (int64_t i = 0; i < count; ++i) {
    const float g = gradient[i] * s.gradient_scale;
    const float m = first[i] + s.one_minus_beta1 * (g - first[i]);
    const float v = s.beta2 * second[i] + s.one_minus_beta2 * g * g;
    const float denominator = std::sqrt(v) / s.root_correction + s.epsilon;
    first[i] = m;
    second[i] = v;
    parameter[i] = parameter[i] * s.keep - s.step_size * m / denominator;
  }
}

double squared_sum(const float* values, int64_t count) {
  // Four chains: one addition chain in double would wait 4 cycles an element.
  double sums[4] = {0, 0, 0, 0};
  int64_t i = 0;
  for (; i + 4 <= count; i += 4)
    for (int64_t lane = 0; lane < 4; ++lane) {
      const double x = values[i + lane];
      sums[lane] += x * x;
    }
  for (; i < count; ++i) sums[0] += static_cast<double>(values[i]) * values[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

void check_parameter(const TrainableParameter& parameter) {
  const torch::Tensor& t = parameter.tensor;
  if (t.scalar_type() == torch::kFloat32 && t.is_contiguous()) return;
  std::ostringstream text;
  text << "parameter " << parameter.name << " is " << t.scalar_type()
       << (t.is_contiguous() ? "" : ", not contiguous")
       << "; the optimizer updates contiguous float32 masters";
  throw Error(text.str());
}

}  // namespace

AdamW::AdamW(std::vector<TrainableParameter> parameters, const AdamWOptions& options)
    : parameters_(std::move(parameters)), options_(options) {
  for (const TrainableParameter& parameter : parameters_) {
    check_parameter(parameter);
    first_moments_.push_back(torch::zeros_like(parameter.tensor.detach()));
    second_moments_.push_back(torch::zeros_like(parameter.tensor.detach()));
  }
}

void AdamW::step(double learning_rate, double gradient_scale) {
  torch::NoGradGuard no_grad;
  ++num_updates_;
  const auto t = static_cast<double>(num_updates_);
  rows::AdamWScalars scalars{};
  scalars.gradient_scale = static_cast<float>(gradient_scale);
  scalars.one_minus_beta1 = static_cast<float>(1.0 - options_.beta1);
  scalars.beta2 = static_cast<float>(options_.beta2);
  scalars.one_minus_beta2 = static_cast<float>(1.0 - options_.beta2);
  scalars.step_size = static_cast<float>(learning_rate / (1.0 - std::pow(options_.beta1, t)));
  scalars.root_correction = static_cast<float>(std::sqrt(1.0 - std::pow(options_.beta2, t)));
  scalars.epsilon = static_cast<float>(options_.epsilon);

  for (size_t p = 0; p < parameters_.size(); ++p) {
    if (!parameters_[p].tensor.grad().defined()) continue;
    const torch::Tensor gradient = parameters_[p].tensor.grad().contiguous();
    const double decay = parameters_[p].decays ? options_.weight_decay : 0.0;
    scalars.keep = static_cast<float>(1.0 - learning_rate * decay);
    if (!gradient.device().is_cpu()) {
      ops::adamw_on_device(parameters_[p].tensor, gradient, first_moments_[p], second_moments_[p],
                           scalars);
      continue;
    }
    float* parameter = parameters_[p].tensor.data_ptr<float>();
    const float* grad = gradient.data_ptr<float>();
    float* first = first_moments_[p].data_ptr<float>();
    float* second = second_moments_[p].data_ptr<float>();
    at::parallel_for(0, gradient.numel(), kChunk, [=](int64_t begin, int64_t end) {
      update_chunk(parameter + begin, grad + begin, first + begin, second + begin, end - begin,
                   scalars);
    });
  }
}

void AdamW::clear_gradients() {
  // Dropped rather than zeroed: autograd then hands its buffer over instead of adding to ours.
  for (TrainableParameter& parameter : parameters_)
    parameter.tensor.mutable_grad() = torch::Tensor();
}

// One value is read from the device, whatever the number of parameters.
double gradient_norm_on_device(const std::vector<TrainableParameter>& parameters) {
  std::vector<torch::Tensor> gradients;
  for (const TrainableParameter& parameter : parameters) {
    if (parameter.tensor.grad().defined()) gradients.push_back(parameter.tensor.grad());
  }
  if (gradients.empty()) return 0.0;
  return torch::stack(at::_foreach_norm(gradients, 2)).to(torch::kFloat64).norm().item<double>();
}

double gradient_norm(const std::vector<TrainableParameter>& parameters) {
  if (!parameters.empty() && !parameters.front().tensor.device().is_cpu()) {
    return gradient_norm_on_device(parameters);
  }
  double total = 0.0;
  for (const TrainableParameter& parameter : parameters) {
    if (!parameter.tensor.grad().defined()) continue;
    const torch::Tensor gradient = parameter.tensor.grad().contiguous();
    const float* values = gradient.data_ptr<float>();
    const int64_t count = gradient.numel();
    const int64_t num_chunks = (count + kChunk - 1) / kChunk;
    std::vector<double> partial(static_cast<size_t>(num_chunks), 0.0);
    at::parallel_for(0, num_chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk)
        partial[static_cast<size_t>(chunk)] =
            squared_sum(values + chunk * kChunk, std::min(kChunk, count - chunk * kChunk));
    });
    for (const double sum : partial) total += sum;
  }
  return std::sqrt(total);
}

double clip_factor(double norm, double max_norm) {
  if (max_norm <= 0.0) return 1.0;
  return std::min(1.0, max_norm / (norm + 1e-6));
}

}  // namespace tune
