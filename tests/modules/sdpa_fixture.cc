#include "tests/modules/sdpa_fixture.h"

#include <algorithm>
#include <limits>
#include <random>

namespace regard::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

}  // namespace

MaskMemory::MaskMemory(const MaskShape& form, uint32_t seed) : shape(form.shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) {
    count *= extent;
  }
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < count; ++i) {
    bytes.push_back(engine() % 4 == 0 ? 0 : 1);
    floats.push_back(engine() % 8 == 0 && count > 1 ? -kInfinity : normal(engine));
  }
  view.is_boolean = form.is_boolean;
  view.data = form.is_boolean ? static_cast<const void*>(bytes.data()) : floats.data();
  view.rank = static_cast<int32_t>(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    view.shape[i] = shape[i];
    view.stride[i] = stride;
    stride *= shape[i];
  }
}

std::vector<float> MaskMemory::in_full() const {
  std::vector<float> full;
  for (int64_t b = 0; b < kBatch; ++b) {
    for (int64_t h = 0; h < kHeads; ++h) {
      for (int64_t l = 0; l < kQueries; ++l) {
        for (int64_t s = 0; s < kKeys; ++s) {
          const int64_t index[] = {b, h, l, s};
          int64_t at = 0;
          for (size_t i = 0; i < shape.size(); ++i) {
            at = at * shape[i] + (shape[i] == 1 ? 0 : index[i + 4 - shape.size()]);
          }
          const auto element = static_cast<size_t>(at);
          full.push_back(!view.is_boolean      ? floats[element]
                         : bytes[element] != 0 ? 0.0f
                                               : -kInfinity);
        }
      }
    }
  }
  return full;
}

BiasTensor full_bias(const std::vector<float>& values) {
  return {values.data(), DType::f32, kHeads * kQueries * kKeys, kQueries * kKeys, kKeys, 1};
}

AttentionCase sdpa_case(DType dtype, const std::vector<float>& full) {
  AttentionCase config{.name = "sdpa", .dtype = dtype, .gradient_dtype = dtype, .batch = kBatch};
  config.q_heads = kHeads;
  config.kv_heads = 2;
  config.sq = kQueries;
  config.sk = kKeys;
  config.d = 24;
  config.dv = 16;
  config.layout = Layout::bhsd;
  config.seed = 3;
  if (!full.empty()) {
    config.change = [&full](Problem& problem) { problem.bias = full_bias(full); };
  }
  return config;
}

SdpaTensor tensor_of(const View& view, int32_t rank) {
  const int64_t shape[] = {view.batch, view.heads, view.seq, view.dim};
  const int64_t stride[] = {view.stride_batch, view.stride_head, view.stride_seq, 1};
  SdpaTensor tensor{.data = view.data, .dtype = view.dtype, .rank = rank};
  std::copy(shape + 4 - rank, shape + 4, tensor.shape);
  std::copy(stride + 4 - rank, stride + 4, tensor.stride);
  return tensor;
}

void run_sdpa(SdpaArguments arguments, const AttentionJudge& judge, AttentionResults& results,
              float* d_mask, int32_t rank) {
  const auto tensor = [rank](const View& view) { return tensor_of(view, rank); };
  arguments.query = tensor(judge.problem().q);
  arguments.key = tensor(judge.problem().k);
  arguments.value = tensor(judge.problem().v);
  arguments.enable_gqa = true;
  const SdpaTensor out = tensor(results.o.view());
  scaled_dot_product_attention(arguments, out, results.lse.view());
  scaled_dot_product_attention_backward(arguments, tensor(judge.operands().d_o()), out,
                                        results.lse.view(),
                                        {.query = tensor(results.dq.view()),
                                         .key = tensor(results.dk.view()),
                                         .value = tensor(results.dv.view()),
                                         .attn_mask = d_mask});
}

}  // namespace regard::testing
