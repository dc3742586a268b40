// Every back end against the reference over the whole table of cases, forward and backward.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "api/backends.h"
#include "core/dtype.h"
#include "reference/attention.h"
#include "regard/attention.h"
#include "tests/api/case_list.h"
#include "tests/api/plain_formula.h"

namespace regard::testing {
namespace {

constexpr uint32_t kRandomSeed = 20240611;
constexpr int kNumRandomCases = 480;

// Everything a forward and backward write, in guarded memory.
struct Results {
  Results(const Problem& problem, DType o_dtype, DType gradient_dtype, Layout layout)
      : o(o_dtype, {problem.q.batch, problem.q.seq, problem.q.heads, problem.v.dim}, layout),
        dq(gradient_dtype, {problem.q.batch, problem.q.seq, problem.q.heads, problem.q.dim},
           layout),
        dk(gradient_dtype, {problem.k.batch, problem.k.seq, problem.k.heads, problem.k.dim},
           layout),
        dv(gradient_dtype, {problem.v.batch, problem.v.seq, problem.v.heads, problem.v.dim},
           layout),
        lse(problem.q.batch, problem.q.heads, problem.q.seq) {}

  ForwardOutputs outputs() { return {.o = o.view(), .lse = lse.view()}; }
  BackwardTensors tensors(const CaseOperands& operands) {
    return {.o = o.view(),
            .lse = lse.view(),
            .d_o = operands.d_o(),
            .d_lse = operands.d_lse(),
            .dq = dq.view(),
            .dk = dk.view(),
            .dv = dv.view()};
  }
  bool guards_intact() const {
    return o.guards_intact() && dq.guards_intact() && dk.guards_intact() && dv.guards_intact() &&
           lse.guards_intact();
  }
  bool has_same_bits(const Results& other) const {
    return o.bytes() == other.o.bytes() && dq.bytes() == other.dq.bytes() &&
           dk.bytes() == other.dk.bytes() && dv.bytes() == other.dv.bytes() &&
           lse.bytes() == other.lse.bytes();
  }

  GuardedTensor o, dq, dk, dv;
  GuardedLse lse;
};

float rounded(float value, DType dtype) {
  uint16_t half[2];
  core::store(half, dtype, 0, value);
  return core::load(half, dtype, 0);
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = a[i] == b[i] ? 0.0 : std::abs(double{a[i]} - double{b[i]});
    largest = difference <= largest ? largest : difference;  // NaN is kept
  }
  return largest;
}

double largest_magnitude(const std::vector<float>& values) {
  double largest = 0;
  for (const float value : values) {
    largest = std::max(largest, std::isfinite(value) ? std::abs(double{value}) : 0.0);
  }
  return largest;
}

struct Expected {
  std::vector<float> exact, plain;
};

// The rule of docs/attention.md: at most 2 (with softcap 3) times the error of the plain formula in
// the same dtype, plus two roundings of values of the tensor's size, plus `noise`.
void expect_within_rule(const char* name, const std::vector<float>& got, const Expected& expected,
                        const AttentionCase& config, double noise) {
  std::vector<float> shifted;
  for (const float value : expected.exact) {
    shifted.push_back(rounded(rounded(value + 0.3f, config.dtype) - 0.3f, config.dtype));
  }
  const double factor = config.softcap > 0 ? 3 : 2;
  const double plain_error = largest_difference(expected.plain, expected.exact);
  const double allowed =
      factor * plain_error + 2 * largest_difference(shifted, expected.exact) + noise;
  const double error = largest_difference(got, expected.exact);
  EXPECT_LE(error, allowed) << name << ": plain formula's error " << plain_error
                            << ", largest value " << largest_magnitude(expected.exact);
}

double half_ulp(DType dtype) {
  return dtype == DType::f32 ? 0x1p-24 : dtype == DType::f16 ? 0x1p-11 : 0x1p-8;
}

// What tiling costs in principle, where the plain formula may be exact by luck:
// - weights come from f32 scores, so they carry relative errors of |score| * 2^-24, twice;
// - delta = dO . O is summed from the O that was stored, each element rounded to its dtype.
struct Noise {
  double relative;  // of every weight
  double delta;     // of every delta, in units of the score gradient
};

Noise noise_of(const AttentionCase& config, const CaseOperands& operands,
               const std::vector<float>& o, const std::vector<float>& lse) {
  const std::vector<float> d_o = dense(operands.d_o());
  double largest_norm = 0;
  for (size_t row = 0; row < o.size(); row += static_cast<size_t>(config.dv)) {
    double norm = 0;
    for (size_t d = row; d < row + static_cast<size_t>(config.dv); ++d) {
      norm += std::pow(double{o[d]} * double{d_o[d]}, 2);
    }
    largest_norm = std::max(largest_norm, std::sqrt(norm));
  }
  return {.relative = 0x1p-23 * (1 + largest_magnitude(lse)),
          .delta = (half_ulp(config.dtype) + 0x1p-24 * static_cast<double>(config.dv)) *
                   largest_norm * std::abs(operands.problem().scale)};
}

class AttentionTable : public ::testing::TestWithParam<AttentionCase> {
 protected:
  void TearDown() override { set_num_threads(0); }

  static void run(const CaseOperands& operands, Backend backend, int num_threads,
                  Results& results) {
    set_num_threads(num_threads);
    attention_forward(operands.problem(), results.outputs(), backend);
    attention_backward(operands.problem(), results.tensors(operands), backend);
  }

  static void expect_right(const AttentionCase& config, const CaseOperands& operands,
                           Results& exact, const PlainResults& plain, Results& got) {
    const std::vector<float> lse = exact.lse.dense();
    const Noise noise = noise_of(config, operands, exact.o.dense(), lse);
    const auto expect = [&](const char* name, const GuardedTensor& tensor,
                            const GuardedTensor& exact_tensor, const std::vector<float>& by_plain,
                            double delta_noise) {
      const Expected expected{exact_tensor.dense(), by_plain};
      expect_within_rule(name, tensor.dense(), expected, config,
                         noise.relative * largest_magnitude(expected.exact) + delta_noise);
    };
    const double largest_q = largest_magnitude(dense(operands.problem().q));
    const double largest_k = largest_magnitude(dense(operands.problem().k));
    expect("o", got.o, exact.o, plain.o, 0);
    expect("dq", got.dq, exact.dq, plain.dq, noise.delta * largest_k);
    expect("dk", got.dk, exact.dk, plain.dk, noise.delta * largest_q);
    expect("dv", got.dv, exact.dv, plain.dv, 0);
    // LSE is f32 whatever the operands are.
    EXPECT_LE(largest_difference(got.lse.dense(), lse), 2e-6 * (1 + largest_magnitude(lse)));
    EXPECT_TRUE(got.guards_intact()) << "wrote outside the outputs";
  }
};

TEST_P(AttentionTable, EveryBackend_AgreesWithReferenceAtEveryThreadCount) {
  const AttentionCase config = GetParam();
  const CaseOperands operands(config);
  const Problem& problem = operands.problem();
  Results exact(problem, DType::f32, DType::f32, Layout::bshd);
  reference::forward(problem, exact.outputs());
  reference::backward(problem, exact.tensors(operands));
  ASSERT_TRUE(exact.guards_intact());
  const PlainResults plain = plain_formula(problem, operands.d_o(), operands.d_lse());

  for (const api::BackendEntry& entry : api::backends()) {
    if (entry.backend == Backend::reference) {
      continue;  // the judge itself
    }
    SCOPED_TRACE(std::string(entry.name) + " " + config.id());
    const std::string refusal = why_unsupported(entry.backend, problem);
    EXPECT_EQ(refusal, "");
    if (!refusal.empty()) {
      continue;
    }
    Results one(problem, config.dtype, config.gradient_dtype, config.layout);
    run(operands, entry.backend, 1, one);
    expect_right(config, operands, exact, plain, one);
    for (const int num_threads : {2, 3}) {
      Results more(problem, config.dtype, config.gradient_dtype, config.layout);
      run(operands, entry.backend, num_threads, more);
      EXPECT_TRUE(more.has_same_bits(one)) << num_threads << " threads";
    }
  }
}

std::string id_of(const ::testing::TestParamInfo<AttentionCase>& info) { return info.param.id(); }

INSTANTIATE_TEST_SUITE_P(Grid, AttentionTable, ::testing::ValuesIn(grid_cases()), id_of);
INSTANTIATE_TEST_SUITE_P(Random, AttentionTable,
                         ::testing::ValuesIn(random_cases(kNumRandomCases, kRandomSeed)), id_of);
INSTANTIATE_TEST_SUITE_P(Large, AttentionTable, ::testing::ValuesIn(large_cases()), id_of);

TEST(AttentionTableList, AllCases_AreAtLeastEightHundredAndDistinct) {
  std::set<std::string> ids;
  size_t count = 0;
  for (const auto& cases :
       {grid_cases(), random_cases(kNumRandomCases, kRandomSeed), large_cases()}) {
    for (const AttentionCase& config : cases) {
      ids.insert(config.id());
      ++count;
    }
  }
  EXPECT_GE(count, 800u);
  EXPECT_EQ(ids.size(), count);
}

TEST(ForcedTarget, EnvironmentVariable_IsTheTargetThatRuns) {
  const char* forced = std::getenv("REGARD_FORCE_TARGET");
  if (forced == nullptr) {
    GTEST_SKIP() << "REGARD_FORCE_TARGET is not set";
  }
  EXPECT_EQ(active_target(), forced);
}

}  // namespace
}  // namespace regard::testing
