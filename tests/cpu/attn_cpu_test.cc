#include <gtest/gtest.h>

#include <cstring>

#include "attention_case.h"
#include "cpu/cpu_attention.h"
#include "cpu/target.h"
#include "regard/attention.h"

namespace regard::test {
namespace {

class AttnCpu : public testing::TestWithParam<AttentionCase> {
 protected:
  void TearDown() override {
    cpu::force_target("");
    set_num_threads(0);
  }
};

struct BackEnd {
  const char* name;
  ForwardFunction forward;
  BackwardFunction backward;
};
constexpr BackEnd kTiled{"tiled", cpu::forward_tiled, cpu::backward_tiled};
constexpr BackEnd kEager{"eager", cpu::forward_eager, cpu::backward_eager};

void expect_agreement(const AttentionCase& c, const BackEnd& back_end) {
  constexpr uint32_t kSeed = 17;
  const Judge judge(c, kSeed);
  for (const std::string& target : cpu::available_targets()) {
    SCOPED_TRACE(target + " " + back_end.name + ", seed " + std::to_string(kSeed));
    cpu::force_target(target);
    ASSERT_EQ(cpu::active_target(), target);
    const Errors errors = judge.errors_of(back_end.forward, back_end.backward);
    const double limit = tolerance(c);
    EXPECT_LE(errors.o, limit);
    EXPECT_LE(errors.lse, 4e-6);
    EXPECT_LE(errors.dq, limit);
    EXPECT_LE(errors.dk, limit);
    EXPECT_LE(errors.dv, limit);
    EXPECT_FALSE(errors.has_touched_gaps);
  }
}

void expect_same_bits(const AttentionCase& c, const BackEnd& back_end) {
  set_num_threads(1);
  const std::vector<float> expected = all_outputs(c, back_end.forward, back_end.backward, 3);
  for (const int threads : {2, 3, 8}) {
    set_num_threads(threads);
    const std::vector<float> got = all_outputs(c, back_end.forward, back_end.backward, 3);
    ASSERT_EQ(got.size(), expected.size());
    EXPECT_EQ(0, std::memcmp(got.data(), expected.data(), got.size() * sizeof(float)))
        << threads << " threads";
  }
}

TEST_P(AttnCpu, TiledOnEveryTarget_AgreesWithReference) { expect_agreement(GetParam(), kTiled); }
TEST_P(AttnCpu, EagerOnEveryTarget_AgreesWithReference) { expect_agreement(GetParam(), kEager); }
TEST_P(AttnCpu, TiledAtEveryThreadCount_GivesTheSameBits) { expect_same_bits(GetParam(), kTiled); }
TEST_P(AttnCpu, EagerAtEveryThreadCount_GivesTheSameBits) { expect_same_bits(GetParam(), kEager); }

INSTANTIATE_TEST_SUITE_P(Cases, AttnCpu, testing::ValuesIn(attention_cases()),
                         [](const auto& test_info) { return test_info.param.name; });

}  // namespace
}  // namespace regard::test
