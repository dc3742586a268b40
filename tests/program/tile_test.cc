// Programs over score tiles against the plain evaluator, on every target.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "cpu/cpu_attention.h"
#include "cpu/highway_targets.h"
#include "cpu/scratch.h"
#include "cpu/target.h"
#include "cpu/tile_plan.h"
#include "program/evaluate.h"
#include "tests/program/random_program.h"

#ifndef REGARD_TESTS_PROGRAM_TILE_RESULT_
#define REGARD_TESTS_PROGRAM_TILE_RESULT_
namespace regard::cpu {
// Tiles [key][kBlockQ]: scores in log2 units in; program values (log2), derivatives and sees out.
struct TileResult {
  const Problem* problem;
  const Unit* unit;
  const RowTile* tile;
  int64_t key_lo, key_hi;
  float *scores, *derivative;
  float* masked;       // scores again, those of masked pairs -inf
  const float* d_out;  // gradient of the program's result
  float* const* d_tensors;
  float* memory;
};

}  // namespace regard::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/program/tile_test.cc"
#include "hwy/foreach_target.h"  // must come before highway.h

#include "cpu/program_gradients-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// The strips of one row tile against the keys [key_lo, key_hi) of block 0.
template <class Visit>
void for_each_strip(const Problem& problem, const Unit& unit, const RowTile& tile, int64_t key_lo,
                    int64_t key_hi, const Visit& visit) {
  const auto num_rows = static_cast<size_t>(tile.num_rows);
  for (size_t s = 0; s < num_strips(num_rows); ++s) {
    ScoreStrip strip{};
    strip.problem = &problem;
    strip.unit = &unit;
    strip.tile = &tile;
    strip.key_lo = key_lo;
    strip.key_hi = key_hi;
    strip.lane_begin = static_cast<int64_t>(s * kStripLanes);
    strip.num_lanes = strip_vectors(num_rows, s) * static_cast<int64_t>(kLanes);
    visit(strip);
  }
}

void run_programs(const TileResult& to) {
  const Problem& problem = *to.problem;
  TensorSums sums(problem, to.d_tensors, 2);
  for_each_strip(problem, *to.unit, *to.tile, to.key_lo, to.key_hi, [&](const ScoreStrip& strip) {
    if (problem.mask_program.program != nullptr) {
      apply_mask_program(strip, to.masked, to.memory);
    }
    if (problem.score_program.program != nullptr) {
      const int slot = strip.lane_begin == 0 ? 0 : 1;
      add_tensor_gradients(strip, to.scores, to.d_out, slot, sums, to.memory);
      apply_score_program(strip, to.scores, to.scores, to.derivative, to.memory);
    }
  });
  sums.write();
}

size_t floats_needed(const Problem& problem) { return program_floats(problem); }

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regard::cpu {
namespace {

HWY_EXPORT(run_programs);
HWY_EXPORT(floats_needed);

using test::RandomTensors;

constexpr int64_t kKeyLo = 3, kKeyHi = 41;  // neither whole chunks nor whole vectors

// One tile of 3 heads x 23 queries = 69 rows, of one key/value head.
class Tile {
 public:
  Tile(const BoundProgram* score, const BoundProgram* mask, uint32_t seed)
      : scores(kBlockQ * kBlockK), derivative(scores), masked(scores), d_out(scores) {
    problem.q = {.batch = 1, .seq = 23, .heads = 3, .dim = 8};
    problem.k = problem.v = {.batch = 1, .seq = 41, .heads = 1, .dim = 8};
    if (score != nullptr) problem.score_program = *score;
    if (mask != nullptr) problem.mask_program = *mask;
    unit = units_of(problem)[0];
    tile = row_tile_at(problem, unit, 0);
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < scores.size(); ++i) {
      scores[i] = masked[i] = normal(random) * 1.4427f;
      d_out[i] = random() % 5 == 0 ? 0.0f : normal(random);
    }
  }

  void run(float* const* d_tensors) {
    const Scratch memory(HWY_DYNAMIC_DISPATCH(floats_needed)(problem));
    const Scratch tiles(4 * scores.size());  // aligned
    std::vector<float>* all[4] = {&scores, &derivative, &masked, &d_out};
    for (size_t i = 0; i < 4; ++i) {
      std::copy(all[i]->begin(), all[i]->end(), tiles.data() + i * scores.size());
    }
    const auto at = [&](size_t i) { return tiles.data() + i * scores.size(); };
    HWY_DYNAMIC_DISPATCH(run_programs)
    ({&problem, &unit, &tile, kKeyLo, kKeyHi, at(0), at(1), at(2), at(3), d_tensors,
      memory.data()});
    for (size_t i = 0; i < 4; ++i) {
      std::copy_n(tiles.data() + i * scores.size(), scores.size(), all[i]->begin());
    }
  }

  // visit(index into the tile, point), with the score in natural units.
  template <class Visit>
  void for_each_pair(const std::vector<float>& log2_scores, const Visit& visit) const {
    for (int64_t row = 0; row < tile.num_rows; ++row) {
      for (int64_t key = kKeyLo; key < kKeyHi; ++key) {
        const auto i = static_cast<size_t>(key * kBlockQ + row);
        visit(i, program::point_of(problem, unit.sequence, unit.head_of(row), unit.query_of(row),
                                   key, log2_scores[i] / 1.4426950408889634));
      }
    }
  }

  Problem problem;
  Unit unit;
  RowTile tile;
  std::vector<float> scores, derivative, masked, d_out;
};

class ProgramTile : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_target(GetParam()); }
  void TearDown() override { force_target(""); }
};

// f32 steps round by 6e-8 each, the functions by up to 4e-7; a dozen of them add up.
constexpr double kTolerance = 2e-5;

void expect_close(double value, double expected, const std::string& text) {
  if (std::isnan(expected) || std::isinf(expected)) {
    EXPECT_EQ(std::isnan(value), std::isnan(expected)) << text;
    EXPECT_EQ(std::isinf(value), std::isinf(expected)) << text;
  } else {
    EXPECT_NEAR(value, expected, kTolerance * (1 + std::fabs(expected))) << text;
  }
}

TEST_P(ProgramTile, RandomScores_AgreeWithTheEvaluator) {
  std::mt19937 random(31);
  const RandomTensors tensors(8);
  for (int i = 0; i < 150; ++i) {
    const std::string text =
        test::random_program(random, {.depth = 3, .is_smooth = i % 2 == 0, .is_total = i % 3 != 0});
    const Program program = score_program(text, RandomTensors::infos());
    const BoundProgram bound = tensors.bind(program);
    Tile tile(&bound, nullptr, static_cast<uint32_t>(i));
    const std::vector<float> raw = tile.scores;
    tile.run(nullptr);
    program::Evaluator evaluator(bound);
    int num_wrong = 0;
    tile.for_each_pair(raw, [&](size_t at, const ProgramPoint& point) {
      const double value = evaluator.value(point) * 1.4426950408889634;
      const double slope = evaluator.d_score(point);
      const auto is_close = [](double x, double y) {
        return x == y || (std::isnan(x) && std::isnan(y)) ||
               std::fabs(x - y) <= kTolerance * (1 + std::fabs(y));
      };
      num_wrong += !is_close(tile.scores[at], value) || !is_close(tile.derivative[at], slope);
    });
    // A comparison of reals within rounding of its threshold may fall either way.
    EXPECT_LE(num_wrong, i % 2 == 0 ? 0 : 3) << text;
  }
}

TEST_P(ProgramTile, RandomMasks_AreThoseOfTheEvaluator) {
  std::mt19937 random(32);
  const RandomTensors tensors(9);
  for (int i = 0; i < 150; ++i) {
    const std::string text =
        test::random_program(random, {.depth = 2, .has_score = false, .is_total = i % 2 == 0});
    // Functions may round by a unit more or less than the evaluator: masks of integers are exact.
    const bool is_exact = text.find_first_of("x") == std::string::npos;
    const Program mask = mask_program(text + " < 0.3", RandomTensors::infos());
    const BoundProgram bound = tensors.bind(mask);
    Tile tile(nullptr, &bound, static_cast<uint32_t>(i));
    const std::vector<float> raw = tile.scores;
    tile.run(nullptr);
    program::Evaluator evaluator(bound);
    int num_wrong = 0;
    tile.for_each_pair(raw, [&](size_t at, const ProgramPoint& point) {
      const bool sees = evaluator.value(point) != 0.0;
      num_wrong += tile.masked[at] != (sees ? raw[at] : -INFINITY);
    });
    EXPECT_LE(num_wrong, is_exact ? 0 : 2) << text;
  }
}

TEST_P(ProgramTile, TensorGradients_AreSumsOverPairs) {
  const char* texts[] = {
      "score + row[h] * (kv - q)",
      "score * table[min(h, 2), kv % 5] + row[kv % 4]",
      "tanh(score * row[0]) * row[0] + table[q % 3, abs(q - kv) % 5]",
      "q >= kv ? score + row[clamp(q - kv, 0, 3)] : score * row[1]",
      "score * (row[0] + row[1] + row[2] + row[3] + table[0, 0] + table[0, 1] + table[0, 2] + "
      "table[1, 0] + table[1, kv % 5] + row[q % 4])",
      "score",
  };
  for (const char* text : texts) {
    const RandomTensors tensors(10);
    const Program program = score_program(text, RandomTensors::infos());
    const BoundProgram bound = tensors.bind(program);
    Tile tile(&bound, nullptr, 5);
    const std::vector<float> raw = tile.scores;
    std::vector<float> row(4, 77.0f), table(15, 77.0f);
    float* const d_tensors[3] = {row.data(), table.data(), nullptr};
    tile.run(d_tensors);
    std::vector<double> expected_row(4, 0.0), expected_table(15, 0.0);
    program::Evaluator evaluator(bound);
    tile.for_each_pair(raw, [&](size_t at, const ProgramPoint& point) {
      std::vector<program::ElementGradient> gradients;
      evaluator.d_tensors(point, gradients);
      for (const program::ElementGradient& gradient : gradients) {
        auto& sums = gradient.tensor == 0 ? expected_row : expected_table;
        sums[static_cast<size_t>(gradient.element)] +=
            static_cast<double>(tile.d_out[at]) * gradient.value;
      }
    });
    for (size_t i = 0; i < 4; ++i) expect_close(row[i], expected_row[i], text);
    for (size_t i = 0; i < 15; ++i) expect_close(table[i], expected_table[i], text);
  }
}

TEST_P(ProgramTile, FunctionsAtTheirEnds_AreIeee754) {
  const char* texts[] = {"exp(score * 60)",     "exp2(score * 90)", "log(score)",
                         "sqrt(score)",         "rsqrt(score)",     "1 / score",
                         "sigmoid(score * 99)", "tanh(score * 99)", "log(score * 1e-38) * 1e-1",
                         "floor(score * 1e9)",  "pow(score, 0.5)",  "score % 0.7"};
  for (const char* text : texts) {
    const Program program = score_program(text);
    const BoundProgram bound{&program, nullptr, 0};
    Tile tile(&bound, nullptr, 6);
    std::fill_n(tile.scores.begin() + kKeyLo * kBlockQ, 20, 0.0f);
    tile.scores[kKeyLo * kBlockQ + 3] = INFINITY;
    tile.scores[kKeyLo * kBlockQ + 4] = -INFINITY;
    tile.scores[kKeyLo * kBlockQ + 5] = NAN;
    const std::vector<float> raw = tile.scores;
    tile.run(nullptr);
    program::Evaluator evaluator(bound);
    tile.for_each_pair(raw, [&](size_t at, const ProgramPoint& point) {
      const double value = evaluator.value(point);
      const double score = tile.scores[at] / 1.4426950408889634;
      // Large arguments carry the rounding of the score into the exponent.
      const double carried = std::fabs(evaluator.d_score(point) * point.score);
      const double slack = 1e-6 * (1 + (std::isfinite(carried) ? carried : 0.0));
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(score)) << text << " at " << point.score;
      } else if (std::fabs(value) > 2e38) {
        EXPECT_GT(std::fabs(score), 1e38) << text << " at " << point.score;
      } else {
        EXPECT_NEAR(score, value, slack + kTolerance * std::fabs(value))
            << text << " at " << point.score;
      }
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, ProgramTile, ::testing::ValuesIn(available_targets()),
                         [](const auto& target) { return target.param; });

}  // namespace
}  // namespace regard::cpu
#endif
