// The int8 CPU kernels against the quantised reference, and against exact attention.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "core/dtype.h"
#include "cpu/cpu_attention.h"
#include "cpu/sage_attention.h"
#include "cpu/target.h"
#include "reference/attention.h"
#include "reference/quantize.h"
#include "regard/attention.h"
#include "tests/support/attention_case.h"
#include "tests/support/attention_results.h"
#include "tests/support/plain_formula.h"
#include "tests/support/tensor_difference.h"

namespace regard::testing {
namespace {

struct Gradients {
  std::vector<float> o, lse, dq, dk, dv;
};

Gradients results_of(const Problem& problem, const CaseOperands& operands) {
  CaseOperands const& c = operands;
  GuardedTensor o(DType::f32, {problem.q.batch, problem.q.seq, problem.q.heads, problem.v.dim},
                  Layout::bshd);
  GuardedTensor dq(DType::f32, shape_of(problem.q), Layout::bshd),
      dk(DType::f32, shape_of(problem.k), Layout::bshd),
      dv(DType::f32, shape_of(problem.v), Layout::bshd);
  GuardedLse lse(problem.q.batch, problem.q.heads, problem.q.seq);
  reference::forward(problem, {.o = o.view(), .lse = lse.view()});
  BackwardTensors tensors{.o = o.view(), .lse = lse.view(), .d_o = c.d_o(), .d_lse = c.d_lse()};
  tensors.dq = dq.view();
  tensors.dk = dk.view();
  tensors.dv = dv.view();
  reference::backward(problem, tensors);
  return {o.dense(), lse.dense(), dq.dense(), dk.dense(), dv.dense()};
}

// What is right for a quantised case, and which error is fair: the rule of docs/attention.md, with
// the plain formula over the quantised operands, plus the error that the format of P and V brings
// in itself (a weight near the middle of two values may round either way).
class SageJudge {
 public:
  explicit SageJudge(const AttentionCase& config) : config_(config), operands_(config) {
    const Problem& problem = operands_.problem();
    exact_ = results_of(problem, operands_);
    Problem unrounded = problem;
    unrounded.quantization.values = ValueFormat::exact;
    const Gradients without = results_of(unrounded, operands_);
    format_error_ = difference(without, exact_);
    reference::SequenceOperands selection(problem);
    Problem selected;
    for (int64_t index = 0; index < core::num_sequences(problem); ++index) {
      selected = selection.of(core::sequence_at(problem, index));  // rows of all sequences stay
    }
    selected.quantization = {};
    const PlainResults plain = plain_formula(selected, operands_.d_o(), operands_.d_lse());
    plain_error_ = difference({plain.o, plain.lse, plain.dq, plain.dk, plain.dv},
                              results_of(selected, operands_));
  }

  const CaseOperands& operands() const { return operands_; }

  void expect_right(const AttentionResults& got) const {
    const double relative = 0x1p-23 * (1 + largest_magnitude(exact_.lse));
    const double delta =
        (half_ulp(config_.dtype) + 0x1p-24 * static_cast<double>(config_.dv)) * largest_norm();
    const double scale = std::abs(operands_.problem().scale);
    const auto expect = [&](const char* name, const std::vector<float>& values,
                            const std::vector<float>& right, double plain, double format,
                            double delta_factor) {
      const double size = largest_magnitude(right);
      const double allowed = (config_.softcap > 0 ? 3 : 2) * plain +
                             4 * half_ulp(config_.dtype) * size + relative * size + 2 * format +
                             delta_factor * delta;
      EXPECT_LE(largest_difference(values, right), allowed)
          << name << ": largest value " << size << ", error of the plain formula " << plain
          << ", of the value format " << format;
    };
    const Problem& problem = operands_.problem();
    expect("o", got.o.dense(), exact_.o, plain_error_.o, format_error_.o, 0);
    expect("dq", got.dq.dense(), exact_.dq, plain_error_.dq, format_error_.dq,
           scale * largest_magnitude(dense(problem.k)));
    expect("dk", got.dk.dense(), exact_.dk, plain_error_.dk, format_error_.dk,
           scale * largest_magnitude(dense(problem.q)));
    expect("dv", got.dv.dense(), exact_.dv, plain_error_.dv, format_error_.dv, 0);
    EXPECT_LE(largest_difference(got.lse.dense(), exact_.lse),
              2e-6 * (1 + largest_magnitude(exact_.lse)));
    EXPECT_TRUE(got.guards_intact()) << "wrote outside the outputs";
  }

 private:
  struct Errors {
    double o, dq, dk, dv;
  };
  static Errors difference(const Gradients& a, const Gradients& b) {
    return {largest_difference(a.o, b.o), largest_difference(a.dq, b.dq),
            largest_difference(a.dk, b.dk), largest_difference(a.dv, b.dv)};
  }
  double largest_norm() const {
    const std::vector<float> d_o = dense(operands_.d_o());
    const auto dim = static_cast<size_t>(config_.dv);
    double largest = 0;
    for (size_t row = 0; row < d_o.size(); row += dim) {
      double norm = 0;
      for (size_t d = row; d < row + dim; ++d) {
        norm += std::pow(double{exact_.o[d]} * double{d_o[d]}, 2);
      }
      largest = std::max(largest, std::sqrt(norm));
    }
    return largest;
  }

  AttentionCase config_;
  CaseOperands operands_;
  Gradients exact_;
  Errors format_error_, plain_error_;
};

AttentionResults run_sage(const AttentionCase& config, const CaseOperands& operands) {
  AttentionResults results(config, operands);
  EXPECT_EQ(cpu::why_unsupported_sage(operands.problem()), "");
  cpu::forward_sage(operands.problem(), results.outputs());
  cpu::backward_sage(operands.problem(), results.tensors(operands));
  return results;
}

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

std::function<void(Problem&)> quantized(Quantization quantization, float channel_bias = 4.0f) {
  quantization.scores = ScoreFormat::int8;
  return [quantization, channel_bias](Problem& problem) {
    problem.quantization = quantization;
    bias_channels(problem.k, channel_bias);
  };
}

std::vector<AttentionCase> sage_cases() {
  constexpr auto kLower = Causal::lower_right;
  constexpr Quantization kThread{.groups = ScaleGroups::per_thread};
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
  return cases;
}

class SageCpu : public ::testing::TestWithParam<AttentionCase> {
 protected:
  void TearDown() override {
    cpu::force_target("");
    set_num_threads(0);
  }
};

TEST_P(SageCpu, EveryTarget_AgreesWithQuantizedReference) {
  const SageJudge judge(GetParam());
  for (const std::string& target : cpu::available_targets()) {
    SCOPED_TRACE(target + ", seed " + std::to_string(GetParam().seed));
    cpu::force_target(target);
    judge.expect_right(run_sage(GetParam(), judge.operands()));
  }
}

TEST_P(SageCpu, EveryThreadCount_GivesTheSameBits) {
  const CaseOperands operands(GetParam());
  set_num_threads(1);
  const AttentionResults expected = run_sage(GetParam(), operands);
  for (const int threads : {2, 3, 8}) {
    set_num_threads(threads);
    EXPECT_TRUE(run_sage(GetParam(), operands).has_same_bits(expected)) << threads << " threads";
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, SageCpu, ::testing::ValuesIn(sage_cases()),
                         [](const auto& test_info) { return test_info.param.name; });

}  // namespace
}  // namespace regard::testing
