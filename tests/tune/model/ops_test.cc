// The model's own autograd operations against LibTorch's plain ones.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/tune/model/model_fixture.h"
#include "tune/model/attention_op.h"
#include "tune/model/chunked_loss.h"
#include "tune/model/linear.h"
#include "tune/model/nf4.h"
#include "tune/model/rms_norm.h"
#include "tune/model/swiglu.h"

namespace tune {
namespace {

torch::Tensor leaf(std::vector<int64_t> shape, double frequency) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return (torch::arange(count, torch::kFloat32) * frequency).sin().view(shape).requires_grad_(true);
}

torch::Tensor fresh(const torch::Tensor& tensor) {
  return tensor.detach().clone().requires_grad_(true);
}

TEST(AddRmsNorm, Gradients_AreThoseOfThePlainFormula) {
  const torch::Tensor h = leaf({70, 37}, 0.7), delta = leaf({70, 37}, 1.3), w = leaf({37}, 0.3);
  const torch::Tensor h2 = fresh(h), delta2 = fresh(delta), w2 = fresh(w);
  Parameter weight;
  weight.value = w.detach();
  weight.master = w;
  const auto out = ops::add_rms_norm(h, delta, weight, 1e-5);
  (out.sum.cos().sum() + out.normed.exp().sum()).backward();
  const torch::Tensor sum = h2 + delta2;
  const torch::Tensor normed = sum * (sum.pow(2).mean(1, true) + 1e-5).rsqrt() * w2;
  (sum.cos().sum() + normed.exp().sum()).backward();
  EXPECT_LT(largest_difference(out.normed, normed), 1e-5);
  EXPECT_LT(relative_error(h.grad(), h2.grad()), 1e-5);
  EXPECT_LT(relative_error(delta.grad(), delta2.grad()), 1e-5);
  EXPECT_LT(relative_error(w.grad(), w2.grad()), 1e-5);
}

TEST(SwiGlu, Gradients_AreThoseOfThePlainFormula) {
  const torch::Tensor gate = leaf({9, 35}, 0.9), up = leaf({9, 35}, 1.1);
  const torch::Tensor gate2 = fresh(gate), up2 = fresh(up);
  ops::swiglu(gate, up).exp().sum().backward();
  (at::silu(gate2) * up2).exp().sum().backward();
  EXPECT_LT(relative_error(gate.grad(), gate2.grad()), 1e-5);
  EXPECT_LT(relative_error(up.grad(), up2.grad()), 1e-5);
}

// Masked scores with LibTorch: two documents, GQA, RoPE of zero angle.
torch::Tensor plain_attention(const torch::Tensor& q, const torch::Tensor& k,
                              const torch::Tensor& v, const torch::Tensor& allowed, int64_t heads,
                              int64_t kv_heads) {
  const int64_t tokens = q.size(0), dim = q.size(1) / heads;
  const auto split = [&](const torch::Tensor& x, int64_t count) {
    return x.view({tokens, count, dim}).transpose(0, 1).repeat_interleave(heads / count, 0);
  };
  torch::Tensor scores = split(q, heads).matmul(split(k, kv_heads).transpose(1, 2));
  scores = (scores / std::sqrt(static_cast<double>(dim))).masked_fill(allowed.logical_not(), -1e30);
  return scores.softmax(-1).matmul(split(v, kv_heads)).transpose(0, 1).reshape({tokens, -1});
}

TEST(RotaryAttention, GradientsInDocumentsWithWindow_AreThoseOfPlainAutograd) {
  constexpr int64_t kHeads = 4, kKvHeads = 2, kDim = 16, kTokens = 25, kFirst = 10, kWindow = 6;
  ops::SequenceLayout layout;
  layout.document_offsets = torch::tensor({0, 10, 25}, torch::kInt32);
  layout.cos = torch::ones({kTokens, kDim / 2});
  layout.sin = torch::zeros({kTokens, kDim / 2});
  torch::Tensor allowed = torch::zeros({kTokens, kTokens}, torch::kBool);
  for (int64_t i = 0; i < kTokens; ++i) {
    const int64_t start = i < kFirst ? 0 : kFirst;
    for (int64_t j = std::max(start, i - kWindow + 1); j <= i; ++j) allowed[i][j] = true;
  }
  for (const auto module :
       {regard::Module::sdpa, regard::Module::flash_attention_2, regard::Module::flex_attention,
        regard::Module::xformers, regard::Module::eager}) {
    const torch::Tensor q = leaf({kTokens, kHeads * kDim}, 0.37),
                        k = leaf({kTokens, kKvHeads * kDim}, 0.91),
                        v = leaf({kTokens, kKvHeads * kDim}, 1.7);
    const torch::Tensor q2 = fresh(q), k2 = fresh(k), v2 = fresh(v);
    ops::AttentionChoice choice;
    choice.module = module;
    const ops::AttentionShape shape{choice, kHeads, kKvHeads, kDim, kWindow};
    const torch::Tensor o = ops::rotary_attention(q, k, v, shape, layout);
    o.exp().sum().backward();
    const torch::Tensor o2 = plain_attention(q2, k2, v2, allowed, kHeads, kKvHeads);
    o2.exp().sum().backward();
    EXPECT_LT(largest_difference(o, o2), 1e-5);
    EXPECT_LT(relative_error(q.grad(), q2.grad()), 1e-4);
    EXPECT_LT(relative_error(k.grad(), k2.grad()), 1e-4);
    EXPECT_LT(relative_error(v.grad(), v2.grad()), 1e-4);
  }
}

TEST(ChunkedLoss, SeveralChunks_GiveLossAndGradientsOfLogSoftmax) {
  constexpr int64_t kTokens = 600, kVocabulary = 97;  // two chunks of at most 512
  Batch batch = packed_row({some_ids(400, 1), some_ids(200, 2)});
  batch.labels[7] = kIgnoreLabel;
  const torch::Tensor hidden = leaf({kTokens, 24}, 0.77), w = leaf({kVocabulary, 24}, 0.13);
  const torch::Tensor hidden2 = fresh(hidden), w2 = fresh(w);
  Parameter weight;
  weight.value = w.detach();
  weight.master = w;
  const auto targets = ops::loss_targets(batch, kVocabulary);
  EXPECT_EQ(targets.ids.numel(), kTokens - 2 - 1);
  const torch::Tensor loss = ops::chunked_cross_entropy(hidden, weight, targets);
  (loss * 0.5).backward();
  const torch::Tensor all =
      hidden2.matmul(w2.t()).log_softmax(1).index_select(0, targets.positions);
  const torch::Tensor loss2 = -all.gather(1, targets.ids.unsqueeze(1)).sum();
  (loss2 * 0.5).backward();
  EXPECT_NEAR(loss.item<double>(), loss2.item<double>(), 1e-5 * loss2.item<double>());
  EXPECT_LT(relative_error(hidden.grad(), hidden2.grad()), 1e-5);
  EXPECT_LT(relative_error(w.grad(), w2.grad()), 1e-5);
}

TEST(Linears, TrainedWeightBiasAndAdapter_GetTheirGradients) {
  const torch::Tensor x = leaf({19, 12}, 0.3), w = leaf({7, 12}, 0.7), bias = leaf({7}, 0.5),
                      a = leaf({3, 12}, 1.9), b = leaf({7, 3}, 2.3);
  const torch::Tensor x2 = fresh(x), w2 = fresh(w), bias2 = fresh(bias), a2 = fresh(a),
                      b2 = fresh(b);
  Linear layer;
  const auto trained = [](const torch::Tensor& master) {
    Parameter parameter;
    parameter.value = master.detach();
    parameter.master = master;
    return parameter;
  };
  layer.weight = trained(w);
  layer.bias = trained(bias);
  layer.lora.a = trained(a);
  layer.lora.b = trained(b);
  layer.lora.scale = 0.75;
  ops::linear(x, layer, {}).sin().sum().backward();
  (x2.matmul(w2.t()) + bias2 + 0.75 * x2.matmul(a2.t()).matmul(b2.t())).sin().sum().backward();
  EXPECT_LT(relative_error(x.grad(), x2.grad()), 1e-5);
  EXPECT_LT(relative_error(w.grad(), w2.grad()), 1e-5);
  EXPECT_LT(relative_error(bias.grad(), bias2.grad()), 1e-5);
  EXPECT_LT(relative_error(a.grad(), a2.grad()), 1e-5);
  EXPECT_LT(relative_error(b.grad(), b2.grad()), 1e-5);
}

TEST(Nf4, NormalWeights_KeepThePublishedError) {
  torch::manual_seed(1);
  const torch::Tensor weight = torch::randn({512, 512}) * 0.02;
  const Nf4Weight packed = quantize_nf4(weight);
  const torch::Tensor restored = dequantize_nf4(packed, torch::kFloat32);
  // bitsandbytes gives a mean absolute error of 0.0727 for N(0, 1) in blocks of 64.
  const double error = (restored - weight).abs().mean().item<double>() / 0.02;
  EXPECT_NEAR(error, 0.0727, 0.002);
  // 4 bits a value, 8 a block of 64, 32 a group of 256 blocks: 4.127 in all.
  EXPECT_LT(8.0 * static_cast<double>(packed.num_bytes()) / (512 * 512), 4.14);
}

TEST(Nf4, OddSizesZerosAndLevels_SurviveTheRoundTrip) {
  EXPECT_EQ(
      dequantize_nf4(quantize_nf4(torch::zeros({3, 7})), torch::kFloat32).abs().max().item<float>(),
      0);
  const torch::Tensor weight =
      torch::tensor({{1.0f, -1.0f, 0.0f}, {0.3379152417f, -0.5250730515f, 1.0f}});
  EXPECT_LT(largest_difference(dequantize_nf4(quantize_nf4(weight), torch::kFloat32), weight),
            1e-6);
}

}  // namespace
}  // namespace tune
