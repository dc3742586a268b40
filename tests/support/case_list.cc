#include "tests/support/case_list.h"

#include <array>
#include <random>

#include "tests/support/case_features.h"

namespace regard::testing {
namespace {

constexpr std::array kDTypes = {DType::f32, DType::bf16, DType::f16};
constexpr std::array kLayouts = {Layout::bshd, Layout::bhsd, Layout::sliced};

struct Lengths {
  int64_t sq, sk;
};

// Nothing, one, fewer than a vector, one more than a tile, Sq > Sk, Sk > Sq.
constexpr std::array kLengths = {Lengths{1, 1},   Lengths{0, 7},   Lengths{7, 0},
                                 Lengths{1, 3},   Lengths{2, 5},   Lengths{5, 2},
                                 Lengths{17, 33}, Lengths{64, 64}, Lengths{65, 127},
                                 Lengths{1, 130}, Lengths{97, 31}, Lengths{33, 129}};

struct Heads {
  int64_t q_heads, kv_heads, d, dv;
};

constexpr std::array kHeads = {Heads{1, 1, 64, 64},  Heads{4, 1, 32, 32}, Heads{2, 2, 16, 16},
                               Heads{8, 1, 8, 8},    Heads{3, 3, 40, 24}, Heads{2, 1, 72, 72},
                               Heads{1, 1, 1, 1},    Heads{4, 2, 59, 59}, Heads{1, 1, 24, 96},
                               Heads{1, 1, 128, 80}, Heads{1, 1, 256, 64}};

void set_heads(AttentionCase& config, const Heads& heads) {
  config.q_heads = heads.q_heads;
  config.kv_heads = heads.kv_heads;
  config.d = heads.d;
  config.dv = heads.dv;
}

}  // namespace

std::vector<AttentionCase> grid_cases() {
  std::vector<AttentionCase> cases;
  for (const DType dtype : kDTypes) {
    for (const Lengths& lengths : kLengths) {
      for (const AddFeature add_feature : case_features()) {
        AttentionCase config;
        config.dtype = config.gradient_dtype = dtype;
        config.sq = lengths.sq;
        config.sk = lengths.sk;
        config.seed = static_cast<uint32_t>(1000 + cases.size());
        // The number of features may divide by 2, 3 or 11: each round over them starts one later.
        const size_t turn = cases.size() + cases.size() / case_features().size();
        set_heads(config, kHeads[turn % kHeads.size()]);
        config.layout = kLayouts[turn % kLayouts.size()];
        config.batch = 1 + static_cast<int64_t>(turn % 2);
        add_feature(config);
        cases.push_back(config);
      }
    }
  }
  return cases;
}

std::vector<AttentionCase> random_cases(int count, uint32_t seed) {
  std::mt19937 engine(seed);
  std::vector<AttentionCase> cases;
  for (int i = 0; i < count; ++i) {
    AttentionCase config;
    config.dtype = kDTypes[engine() % kDTypes.size()];
    config.gradient_dtype = engine() % 3 == 0 ? DType::f32 : config.dtype;
    config.batch = 1 + static_cast<int64_t>(engine() % 2);
    config.sq = static_cast<int64_t>(engine() % 90);
    config.sk = engine() % 3 == 0 ? config.sq : static_cast<int64_t>(engine() % 150);
    set_heads(config, kHeads[engine() % kHeads.size()]);
    config.layout = kLayouts[engine() % kLayouts.size()];
    config.seed = seed + 10 * static_cast<uint32_t>(i);
    add_random_features(config, engine);
    add_random_storage(config, engine);
    cases.push_back(config);
  }
  return cases;
}

std::vector<AttentionCase> large_cases() {
  std::vector<AttentionCase> cases;
  for (const DType dtype : kDTypes) {
    AttentionCase config;
    config.dtype = config.gradient_dtype = dtype;
    config.q_heads = 4;
    config.sq = 257;
    config.sk = 500;
    config.d = config.dv = 64;
    config.causal = Causal::lower_right;
    config.seed = 77;
    cases.push_back(config);
    config.kv_heads = 2;
    config.sq = config.sk = 300;
    config.window = {.left = 64, .right = -1};
    config.layout = Layout::bhsd;
    cases.push_back(config);
  }
  return cases;
}

std::vector<AttentionCase> attention_table() {
  constexpr uint32_t kRandomSeed = 20240611;
  constexpr int kNumRandomCases = 2200;
  std::vector<AttentionCase> all;
  for (const auto& cases :
       {grid_cases(), random_cases(kNumRandomCases, kRandomSeed), large_cases()}) {
    all.insert(all.end(), cases.begin(), cases.end());
  }
  return all;
}

}  // namespace regard::testing
