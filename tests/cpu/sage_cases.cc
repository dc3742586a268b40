#include "tests/cpu/sage_cases.h"

#include <cstdint>
#include <utility>

#include "core/dtype.h"
#include "core/sequences.h"

namespace regard::testing {
namespace {

// Adds a bias to some channels of K, as real models have it (Zhang et al. 2024, section 3.2).
void bias_channels(const View& k, float size) {
  for (int64_t b = 0; b < k.batch; ++b) {
    for (int64_t s = 0; s < k.seq; ++s) {
      for (int64_t h = 0; h < k.heads; ++h) {
        for (int64_t d = 0; d < k.dim; d += 5) {
          const int64_t at = core::row_offset(k, b, s, h) + d;
          const float bias = (d % 2 == 0 ? 1.0f : -1.0f) * size;
          core::store(k.data, k.dtype, at, core::load(k.data, k.dtype, at) + bias);
        }
      }
    }
  }
}

}  // namespace

std::function<void(Problem&)> quantized(Quantization quantization, float channel_bias) {
  quantization.scores = ScoreFormat::int8;
  return [quantization, channel_bias](Problem& problem) {
    problem.quantization = quantization;
    bias_channels(problem.k, channel_bias);
  };
}

AttentionCase with_int8_backward(AttentionCase config) {
  config.name += "_int8_backward";
  config.change = [change = config.change](Problem& problem) {
    change(problem);
    problem.quantization.int8_backward = true;
  };
  return config;
}

std::vector<AttentionCase> sage_cases() {
  constexpr auto kLower = Causal::lower_right;
  static constexpr Quantization kThread{.groups = ScaleGroups::per_thread};
  constexpr Quantization kWarp{.groups = ScaleGroups::per_warp};
  constexpr Quantization kBlock{.groups = ScaleGroups::per_block};
  constexpr Quantization kF16{.values = ValueFormat::f16};
  constexpr Quantization kF8{.values = ValueFormat::f8_e4m3};
  constexpr Quantization kRough{.smooth_k = false};
  std::vector<AttentionCase> cases = {
      {.name = "one_token", .change = quantized(kThread)},
      {.name = "per_thread", .sq = 200, .sk = 300, .d = 64, .dv = 64, .change = quantized(kThread)},
      {.name = "per_warp", .sq = 200, .sk = 300, .d = 64, .dv = 64, .change = quantized(kWarp)},
      {.name = "per_block", .sq = 200, .sk = 300, .d = 64, .dv = 64, .change = quantized(kBlock)},
      {.name = "f16_values", .sq = 150, .sk = 250, .d = 64, .dv = 64, .change = quantized(kF16)},
      {.name = "f8_values", .sq = 150, .sk = 250, .d = 64, .dv = 64, .change = quantized(kF8)},
      {.name = "without_smoothing",
       .sq = 150,
       .sk = 250,
       .d = 64,
       .change = quantized(kRough, 0.5f)},
      {.name = "odd_head_sizes",
       .sq = 97,
       .sk = 193,
       .d = 81,
       .dv = 43,
       .change = quantized(kThread)},
      {.name = "one_channel", .sq = 13, .sk = 29, .d = 1, .dv = 3, .change = quantized(kThread)},
      {.name = "causal_lower_long_keys",
       .sq = 111,
       .sk = 450,
       .causal = kLower,
       .change = quantized(kThread)},
      {.name = "causal_lower_short_keys",
       .sq = 260,
       .sk = 100,
       .causal = kLower,
       .change = quantized(kThread)},
      {.name = "causal_upper",
       .sq = 130,
       .sk = 200,
       .causal = Causal::upper_left,
       .change = quantized(kThread)},
      {.name = "gqa_sliced",
       .batch = 2,
       .q_heads = 6,
       .kv_heads = 2,
       .sq = 130,
       .sk = 130,
       .d = 64,
       .dv = 64,
       .layout = Layout::sliced,
       .causal = kLower,
       .change = quantized(kThread)},
      {.name = "decode",
       .batch = 2,
       .q_heads = 8,
       .kv_heads = 2,
       .sq = 1,
       .sk = 333,
       .d = 64,
       .dv = 64,
       .layout = Layout::bhsd,
       .causal = kLower,
       .change = quantized(kF16)},
      {.name = "window",
       .q_heads = 2,
       .sq = 300,
       .sk = 260,
       .causal = kLower,
       .window = {.left = 50, .right = 0},
       .change = quantized(kWarp)},
      {.name = "documents",
       .q_heads = 3,
       .sq = 307,
       .sk = 307,
       .d = 64,
       .dv = 64,
       .causal = kLower,
       .documents = {{1, 1}, {0, 0}, {100, 100}, {1, 1}, {205, 205}},
       .change = quantized(kThread)},
      {.name = "documents_unequal",
       .sq = 120,
       .sk = 200,
       .causal = kLower,
       .documents = {{50, 120}, {0, 80}, {70, 0}},
       .change = quantized(kF16)},
      {.name = "mask_and_bias",
       .q_heads = 2,
       .kv_heads = 2,
       .sq = 100,
       .sk = 210,
       .has_mask = true,
       .has_bias = true,
       .change = quantized(kThread)},
      {.name = "alibi_dropout",
       .q_heads = 4,
       .kv_heads = 2,
       .sq = 110,
       .sk = 210,
       .causal = kLower,
       .has_alibi = true,
       .dropout = 0.3f,
       .change = quantized(kThread)},
      {.name = "dropout_f8",
       .q_heads = 2,
       .sq = 110,
       .sk = 210,
       .dropout = 0.3f,
       .change = quantized(kF8)},
      {.name = "softcap", .sq = 110, .sk = 210, .softcap = 4.0f, .change = quantized(kThread)},
      {.name = "d_lse",
       .sq = 110,
       .sk = 210,
       .causal = kLower,
       .has_d_lse = true,
       .change = quantized(kThread)},
      {.name = "chunks",
       .q_heads = 4,
       .kv_heads = 2,
       .sq = 128,
       .sk = 128,
       .causal = kLower,
       .change =
           [](Problem& problem) {
             quantized(kThread)(problem);
             problem.chunks = {.size = 32, .shift = 16, .first_shifted_head = 2};
           }},
      {.name = "no_keys", .sq = 5, .sk = 0, .change = quantized(kThread)},
      {.name = "large_scores",
       .sq = 100,
       .sk = 200,
       .causal = kLower,
       .q_magnitude = 4.0f,
       .change = quantized(kThread)},
      {.name = "bf16",
       .dtype = DType::bf16,
       .gradient_dtype = DType::bf16,
       .q_heads = 4,
       .kv_heads = 2,
       .sq = 200,
       .sk = 200,
       .d = 64,
       .dv = 64,
       .causal = kLower,
       .change = quantized(kF16)},
      {.name = "f16",
       .dtype = DType::f16,
       .gradient_dtype = DType::f16,
       .sq = 200,
       .sk = 200,
       .d = 40,
       .dv = 72,
       .causal = kLower,
       .has_d_lse = true,
       .change = quantized(kF16)},
  };
  uint32_t seed = 100;
  for (AttentionCase& config : cases) {
    config.seed = seed += 10;
  }
  for (size_t i = 0, count = cases.size(); i < count; ++i) {
    cases.push_back(with_int8_backward(cases[i]));
  }
  return cases;
}

}  // namespace regard::testing
