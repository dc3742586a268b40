// The texts of attn_bwd_simt and of attn_bwd_delta, run on the emulator of a thread block, against
// the reference.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "gpu/kernels/attn_bwd_clear.cuh"
#include "gpu/kernels/attn_bwd_delta.cuh"
#include "gpu/kernels/attn_bwd_simt_dkv.cuh"
#include "gpu/kernels/attn_bwd_simt_dq.cuh"
#include "gpu/kernels/attn_bwd_sink.cuh"
#include "gpu/kernels/attn_bwd_terms.cuh"
#include "gpu/kernels/attn_bwd_terms_end.cuh"
#include "gpu/plan/attn_bwd_simt.h"
#include "tests/gpu/emulated_backward.h"
#include "tests/gpu/emulated_case.h"

namespace regard::testing {
namespace {

using gpu::AttnConfig;
using gpu::BiasFormat;
using gpu::Element;

// Every kernel that the planner may ask for where config_of gives kCfg.
template <int kComputeCapability, AttnConfig kCfg>
void add_kernels(std::vector<BackwardText>& kernels) {
  constexpr AttnConfig kDkv = gpu::with_simt_dkv_tiles(kCfg, kComputeCapability);
  constexpr AttnConfig kDq = gpu::with_simt_dq_tiles(kCfg, kComputeCapability);
  // O may lie in whole pieces where q does not, and the other way round.
  constexpr AttnConfig kDelta = with_whole_pieces(gpu::delta_config(kCfg));
  constexpr AttnConfig kScattered = with_rows_apart(kDelta);
  kernels.push_back({"attn_bwd_simt_dkv", kDkv, gpu::attn_bwd_simt_dkv<kDkv>});
  kernels.push_back({"attn_bwd_simt_dq", kDq, gpu::attn_bwd_simt_dq<kDq>});
  kernels.push_back({"attn_bwd_terms", kDq, gpu::attn_bwd_terms<kDq>});
  kernels.push_back({"attn_bwd_delta", kDelta, gpu::attn_bwd_delta<kDelta>});
  kernels.push_back({"attn_bwd_delta", kScattered, gpu::attn_bwd_delta<kScattered>});
}

constexpr AttnConfig f32_config(int head_dim, int value_dim) {
  return {.element = Element::f32,
          .head_dim = head_dim,
          .value_dim = value_dim,
          .is_deterministic = true};
}
constexpr AttnConfig changed(AttnConfig config, auto change) {
  change(config);
  return config;
}

constexpr AttnConfig kPlain64 = f32_config(64, 64);
constexpr AttnConfig kCausal128 =
    changed(f32_config(128, 128), [](AttnConfig& c) { c.has_limits = true; });
constexpr AttnConfig kPacked =
    changed(f32_config(64, 32), [](AttnConfig& c) { c.has_limits = c.is_packed = true; });
constexpr AttnConfig kScatteredTerms = changed(f32_config(32, 32), [](AttnConfig& c) {
  c.has_limits = c.has_softcap = c.has_alibi = true;
  c.is_vectorised = false;
});
constexpr AttnConfig kLengths = changed(f32_config(32, 32), [](AttnConfig& c) {
  c.element = Element::bf16;
  c.has_limits = c.has_alibi = c.is_packed = c.has_lengths = true;
  c.is_vectorised = false;
});
constexpr AttnConfig kMaskAndBias = changed(f32_config(32, 32), [](AttnConfig& c) {
  c.has_mask = c.has_dropout = true;
  c.bias = BiasFormat::f32;
});
constexpr AttnConfig kChunksAndSink =
    changed(f32_config(32, 32), [](AttnConfig& c) { c.has_chunks = c.has_sink = true; });
constexpr AttnConfig kBlocks =
    changed(f32_config(32, 32), [](AttnConfig& c) { c.has_limits = c.has_block_mask = true; });
constexpr AttnConfig kWide =
    changed(f32_config(320, 288), [](AttnConfig& c) { c.element = Element::f16; });
constexpr AttnConfig kWidest =
    changed(f32_config(512, 512), [](AttnConfig& c) { c.has_limits = c.has_dropout = true; });
constexpr AttnConfig kBf16 = changed(f32_config(64, 64), [](AttnConfig& c) {
  c.element = Element::bf16;
  c.has_limits = true;
});

constexpr AttnConfig kWarps8{.num_warps = 8};

const std::vector<BackwardText>& kernels() {
  static const std::vector<BackwardText> kKernels = [] {
    std::vector<BackwardText> all{
        {"attn_bwd_clear", gpu::clear_config(), gpu::attn_bwd_clear<gpu::clear_config()>},
        {"attn_bwd_terms_end", kWarps8, gpu::attn_bwd_terms_end<kWarps8>},
        {"attn_bwd_sink", kWarps8, gpu::attn_bwd_sink<kWarps8>}};
    add_kernels<80, kPlain64>(all);
    add_kernels<80, kCausal128>(all);
    add_kernels<80, kPacked>(all);
    add_kernels<80, kScatteredTerms>(all);
    add_kernels<80, kLengths>(all);
    add_kernels<80, kMaskAndBias>(all);
    add_kernels<80, kChunksAndSink>(all);
    add_kernels<80, kBlocks>(all);
    add_kernels<80, kWide>(all);
    add_kernels<75, kWidest>(all);
    add_kernels<75, kBf16>(all);
    return all;
  }();
  return kKernels;
}

class AttnBwdSimt : public ::testing::TestWithParam<EmulatedCase> {};

TEST_P(AttnBwdSimt, Emulated_AgreesWithReferenceAndTouchesOnlyItsMemory) {
  const EmulatedCase& value = GetParam();
  expect_backward_right(
      kernels(), value.compute_capability, value.config,
      [&](const Problem& problem, const BackwardTensors& tensors) {
        return gpu::why_unsupported_attn_bwd_simt(problem, tensors, value.compute_capability);
      },
      [&](const Problem& problem, const BackwardTensors& tensors) {
        return gpu::plan_attn_bwd_simt(problem, tensors, value.compute_capability);
      });
}

std::vector<EmulatedCase> emulated_cases() {
  std::vector<EmulatedCase> cases;
  const auto add = [&](int compute_capability, AttentionCase config, auto change) {
    change(config);
    cases.push_back({compute_capability, config});
  };
  const auto f16 = DType::f16, bf16 = DType::bf16, f32 = DType::f32;
  add(80, case_of(f32, 129, 200, 64, 64), [](AttentionCase& c) {
    c.q_heads = 2;
    c.has_d_lse = true;
  });
  add(80, case_of(f32, 5, 0, 64, 64), [](AttentionCase&) {});
  add(80, case_of(f32, 0, 5, 64, 64), [](AttentionCase&) {});
  add(80, case_of(f32, 130, 97, 128, 128), [](AttentionCase& c) {
    c.causal = Causal::lower_right;
    c.q_heads = 4;
    c.kv_heads = 2;
    c.layout = Layout::bhsd;
  });
  add(80, case_of(f32, 40, 150, 128, 128), [](AttentionCase& c) {
    c.causal = Causal::upper_left;
    c.has_nan_keys = true;
  });
  add(80, case_of(f32, 150, 150, 44, 16), [](AttentionCase& c) {
    c.documents = {{70, 30}, {0, 20}, {75, 100}, {5, 0}};
    c.causal = Causal::lower_right;
    c.q_heads = 2;
  });
  add(80, case_of(f32, 70, 140, 9, 7), [](AttentionCase& c) {
    c.window = {.left = 20, .right = 3};
    c.softcap = 5.0f;
    c.has_alibi = c.asks_score_gradients = true;
    c.q_heads = 4;
    c.kv_heads = 2;
    c.batch = 2;
    c.layout = Layout::sliced;
  });
  add(80, case_of(bf16, 90, 80, 20, 31), [](AttentionCase& c) {
    c.documents = {{30, 50}, {50, 20}};
    c.unowned = 5;
    c.window = {.left = 10, .right = 0};
    c.has_alibi = true;
  });
  add(80, case_of(f32, 75, 140, 32, 32), [](AttentionCase& c) {
    c.has_mask = c.has_bias = c.has_nan_keys = true;
    c.broadcast = Broadcast::over_head_and_query;
    c.asks_score_gradients = true;
    c.dropout = 0.3f;
    c.q_heads = 2;
  });
  add(80, case_of(f32, 7, 0, 28, 28), [](AttentionCase& c) {
    c.has_bias = c.has_mask = c.asks_score_gradients = true;
    c.broadcast = Broadcast::over_key;  // whose gradient has elements without any key
    c.dropout = 0.1f;
  });
  for (const Broadcast broadcast :
       {Broadcast::full, Broadcast::over_batch_and_head, Broadcast::over_key}) {
    add(80, case_of(f32, 75, 140, 32, 32), [broadcast](AttentionCase& c) {
      c.has_mask = c.has_bias = c.asks_score_gradients = true;
      c.broadcast = broadcast;
      c.dropout = 0.1f;
      c.q_heads = c.batch = 2;
    });
  }
  add(80, case_of(f32, 140, 140, 32, 32), [](AttentionCase& c) {
    c.chunks = {.size = 60, .shift = 30, .first_shifted_head = 1};
    c.has_sink = c.asks_score_gradients = c.has_d_lse = true;
    c.q_heads = 2;
  });
  add(80, case_of(f32, 140, 150, 32, 32), [](AttentionCase& c) {
    c.block_q = 32;
    c.block_k = 48;
    c.causal = Causal::lower_right;
    c.has_nan_keys = true;
  });
  add(80, case_of(f16, 40, 70, 320, 288), [](AttentionCase& c) { c.q_magnitude = 4.0f; });
  add(75, case_of(f32, 40, 50, 512, 508), [](AttentionCase& c) {
    c.causal = Causal::lower_right;
    c.dropout = 0.2f;
  });
  add(75, case_of(bf16, 140, 140, 64, 64), [](AttentionCase& c) {
    c.causal = Causal::upper_left;
    c.q_magnitude = 8.0f;
    c.gradient_dtype = DType::f32;
  });
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Cases, AttnBwdSimt, ::testing::ValuesIn(emulated_cases()),
                         [](const auto& test_info) { return name_of(test_info.param); });

}  // namespace
}  // namespace regard::testing
