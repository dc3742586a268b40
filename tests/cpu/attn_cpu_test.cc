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

TEST_P(AttnCpu, TiledOnEveryTarget_AgreesWithReference) {
  const AttentionCase& c = GetParam();
  for (const std::string& target : cpu::available_targets()) {
    SCOPED_TRACE(target);
    cpu::force_target(target);
    ASSERT_EQ(cpu::active_target(), target);
    const Errors errors = errors_against_reference(c, cpu::forward_tiled, cpu::backward_tiled, 17);
    const double limit = tolerance(c);
    EXPECT_LE(errors.o, limit);
    EXPECT_LE(errors.lse, 4e-6);
    EXPECT_LE(errors.dq, limit);
    EXPECT_LE(errors.dk, limit);
    EXPECT_LE(errors.dv, limit);
    EXPECT_FALSE(errors.has_touched_gaps);
  }
}

TEST_P(AttnCpu, TiledAtEveryThreadCount_GivesTheSameBits) {
  const AttentionCase& c = GetParam();
  set_num_threads(1);
  const std::vector<float> expected = all_outputs(c, cpu::forward_tiled, cpu::backward_tiled, 3);
  for (const int threads : {2, 3, 8}) {
    set_num_threads(threads);
    const std::vector<float> got = all_outputs(c, cpu::forward_tiled, cpu::backward_tiled, 3);
    ASSERT_EQ(got.size(), expected.size());
    EXPECT_EQ(0, std::memcmp(got.data(), expected.data(), got.size() * sizeof(float)))
        << threads << " threads";
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, AttnCpu, testing::ValuesIn(attention_cases()),
                         [](const auto& test_info) { return test_info.param.name; });

}  // namespace
}  // namespace regard::test
