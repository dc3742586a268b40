// The device code of programs, run on the host, against the programs' own evaluation; and through
// the run-time compiler.
#include "gpu/plan/emit_programs.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <random>

#include "gpu/jit/compile.h"
#include "gpu/kernels/programs.cuh"
#include "gpu/plan/problem_params.h"
#include "program/evaluate.h"
#include "tests/gpu/emitted_programs/programs.h"
#include "tests/gpu/emulator/emulator.h"
// Last: it renames the functions above it for each program.
#include "all_programs.inc"

namespace regard::gpu {
namespace {

using AddRead = std::function<void(int, int, float)>;

struct EmittedProgram {
  ProgramScore (*score)(const ProblemParams&, const ProgramPair&, float);
  bool (*mask)(const ProblemParams&, const ProgramPair&);
  void (*reads)(const ProblemParams&, const ProgramPair&, float, const AddRead&);
};

const EmittedProgram kEmitted[] = {
#include "program_list.inc"
};

using Reads = std::map<std::pair<int, int64_t>, double>;

// f32 steps against double ones: each value is off by some ulp of the largest on the way, which
// the magnitudes of these programs keep near 1; branches at the edge of a comparison are not taken
// by random scores.
void expect_close(double value, double expected, const std::string& what) {
  if (std::isnan(expected) || std::isinf(expected) || std::fabs(expected) > 1e30) {
    EXPECT_EQ(std::isfinite(static_cast<float>(value)), std::isfinite(static_cast<float>(expected)))
        << what;
    return;
  }
  EXPECT_NEAR(value, expected, 2e-4 * (1.0 + std::fabs(expected))) << what;
}

class EmittedPrograms : public ::testing::Test {
 protected:
  EmittedPrograms() {
    for (const ProgramTensor& tensor : tensors_.bound()) {
      int64_t count = 1;
      for (int axis = 0; axis < tensor.rank; ++axis) count *= tensor.shape[axis];
      memory_.push_back({tensor.data, static_cast<size_t>(4 * count), false});
    }
  }

  void expect_equal(size_t index, const Program& program, const ProgramPoint& point) {
    const Program mask = test::mask_of(index);
    Problem problem;
    problem.score_program = tensors_.bind(program);
    problem.mask_program = tensors_.bind(mask);
    ProblemParams params{};
    set_params(problem, params);
    const ProgramPair pair{point.b,     point.h,      point.q,  point.kv,
                           point.q_len, point.kv_len, point.doc};
    ProgramScore result{};
    bool sees = false;
    Reads reads;
    const std::string fault = testing::emulate({.memory = memory_}, [&](unsigned short*) {
      if (thread_in_block() != 0) return;
      const EmittedProgram& emitted = kEmitted[index];
      const auto score = static_cast<float>(point.score);
      result = emitted.score(params, pair, score);
      sees = emitted.mask(params, pair);
      emitted.reads(params, pair, score, [&](int tensor, int element, float value) {
        reads[{tensor, element}] += static_cast<double>(value);
      });
    });
    ASSERT_EQ(fault, "") << program.text();
    program::Evaluator evaluator(problem.score_program), of_mask(problem.mask_program);
    expect_close(result.score, evaluator.value(point), "score of " + program.text());
    expect_close(result.slope, evaluator.d_score(point), "slope of " + program.text());
    EXPECT_EQ(sees, of_mask.value(point) != 0.0) << mask.text();
    std::vector<program::ElementGradient> expected;
    evaluator.d_tensors(point, expected);
    Reads sums;
    for (const program::ElementGradient& read : expected) {
      sums[{read.tensor, read.element}] += read.value;
    }
    ASSERT_EQ(reads.size(), sums.size()) << program.text();
    for (const auto& [place, value] : sums) {
      ASSERT_TRUE(reads.contains(place)) << program.text();
      expect_close(reads[place], value, "derivative of a read of " + program.text());
    }
  }

  test::RandomTensors tensors_{3};
  std::vector<testing::MemoryRange> memory_;
};

TEST_F(EmittedPrograms, AtRandomPairs_GiveWhatEvaluationGives) {
  const std::vector<Program> programs = test::emitted_programs();
  ASSERT_EQ(programs.size(), std::size(kEmitted));
  std::mt19937 random(11);
  std::uniform_real_distribution<float> score(-3.0f, 3.0f);
  for (size_t i = 0; i < programs.size(); ++i) {
    for (int round = 0; round < 20; ++round) {
      const auto below = [&](uint32_t end) { return static_cast<int32_t>(random() % end); };
      expect_equal(i, programs[i],
                   {.score = static_cast<double>(score(random)),
                    .b = below(3),
                    .h = below(6),
                    .q = below(40),
                    .kv = below(40),
                    .q_len = 40,
                    .kv_len = 40,
                    .doc = below(3)});
    }
  }
}

TEST(EmitPrograms, NoProgram_EmitsNothing) { EXPECT_EQ(emit_programs({}), ""); }

TEST(EmitPrograms, OtherTensorsOfTheSameProgram_EmitTheSameText) {
  const test::RandomTensors one(1), two(2);
  const Program program = score_program("score + row[h % 4]", test::RandomTensors::infos());
  Problem first, second;
  first.score_program = one.bind(program);
  second.score_program = two.bind(program);
  EXPECT_EQ(emit_programs(first), emit_programs(second));
}

TEST(EmitPrograms, EveryText_Compiles) {
  std::string reason;
  const Nvrtc* compiler = nvrtc(reason);
  if (compiler == nullptr) {
    GTEST_SKIP() << reason;
  }
  const std::vector<Program> programs = test::emitted_programs();
  for (size_t i = 0; i < programs.size(); i += 47) {
    const Program mask = test::mask_of(i);
    Problem problem;
    problem.score_program.program = &programs[i];
    problem.mask_program.program = &mask;
    AttnConfig config{
        .block_q = 64, .block_k = 64, .has_score_program = true, .has_mask_program = true};
    EXPECT_NO_THROW(compile(*compiler, {.stem = "attn_fwd_mma",
                                        .params = "AttnFwdParams",
                                        .config = config,
                                        .compute_capability = 80,
                                        .smem_bytes = config.smem_bytes(),
                                        .programs = emit_programs(problem)}))
        << programs[i].text();
  }
}

}  // namespace
}  // namespace regard::gpu
