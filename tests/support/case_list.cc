#include "tests/support/case_list.h"

#include <algorithm>
#include <array>
#include <random>

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

// Cuts both lengths at random, empty documents included. With `unowned` rows after each document,
// lengths grow by them.
void cut_into_documents(AttentionCase& config, int num_documents, int32_t unowned,
                        std::mt19937& engine) {
  config.batch = 1;
  const auto cuts_of = [&](int64_t length) {
    std::vector<int32_t> cuts{0, static_cast<int32_t>(length)};
    for (int i = 1; i < num_documents; ++i) {
      cuts.push_back(static_cast<int32_t>(engine() % static_cast<uint32_t>(length + 1)));
    }
    std::sort(cuts.begin(), cuts.end());
    return cuts;
  };
  const std::vector<int32_t> q = cuts_of(config.sq);
  const std::vector<int32_t> k =
      config.sq == config.sk && engine() % 2 == 0 ? q : cuts_of(config.sk);
  for (int i = 0; i < num_documents; ++i) {
    const auto at = static_cast<size_t>(i);
    config.documents.emplace_back(q[at + 1] - q[at], k[at + 1] - k[at]);
  }
  config.unowned = unowned;
  config.sq += int64_t{unowned} * num_documents;
  config.sk += int64_t{unowned} * num_documents;
}

void ask_for_bias_gradient(AttentionCase& config, Broadcast broadcast) {
  config.has_bias = config.asks_score_gradients = true;
  config.broadcast = broadcast;
}

void set_block_mask(AttentionCase& config, int32_t block_q, int32_t block_k) {
  config.block_q = block_q;
  config.block_k = block_k;
}

// One feature a case; the random cases combine them.
constexpr int kNumFeatures = 36;

void set_later_feature(AttentionCase& config, int feature);

void set_feature(AttentionCase& config, int feature) {
  switch (feature) {
    case 0:  // none
      break;
    case 1:
      config.causal = Causal::upper_left;
      break;
    case 2:
      config.causal = Causal::lower_right;
      break;
    case 3:
      config.window = {.left = 5, .right = 3};
      break;
    case 4:
      config.causal = Causal::lower_right;
      config.window = {.left = 9, .right = -1};
      break;
    case 5:
      config.has_mask = true;
      break;
    case 6:
      config.has_bias = true;
      break;
    case 7:
      config.has_alibi = true;
      config.causal = Causal::lower_right;
      break;
    case 8:
      config.softcap = 5.0f;
      config.q_magnitude = 1.25f;  // softcap / 4, as the FlashAttention tests scale q
      break;
    case 9:
      config.dropout = 0.3f;
      break;
    case 10:
      config.has_d_lse = true;
      config.causal = Causal::upper_left;
      break;
    case 11:
      config.q_magnitude = 40.0f;
      break;
    case 12:
      config.causal = Causal::upper_left;
      config.window = {.left = 0, .right = 0};
      break;
    case 13:
      config.has_mask = true;
      config.broadcast = Broadcast::over_head_and_query;
      break;
    default:
      set_later_feature(config, feature);
  }
}

void set_later_feature(AttentionCase& config, int feature) {
  std::mt19937 engine(config.seed);
  switch (feature) {
    case 14:
      config.chunks = {.size = 7};
      break;
    case 15:  // the shape of shifted sparse attention
      config.causal = Causal::lower_right;
      config.chunks = {.size = 16, .shift = 8, .first_shifted_head = config.q_heads / 2};
      break;
    case 16:
      config.has_sink = config.asks_score_gradients = true;
      break;
    case 17:
      config.has_sink = config.has_d_lse = config.asks_score_gradients = true;
      config.causal = Causal::lower_right;
      break;
    case 18:
      ask_for_bias_gradient(config, Broadcast::full);
      break;
    case 19:
      ask_for_bias_gradient(config, Broadcast::over_batch_and_head);
      config.causal = Causal::upper_left;
      break;
    case 20:
      ask_for_bias_gradient(config, Broadcast::over_head_and_query);
      break;
    case 21:
      ask_for_bias_gradient(config, Broadcast::over_key);
      config.has_d_lse = true;
      break;
    case 22:
      config.has_alibi = config.asks_score_gradients = true;
      break;
    case 23:
      config.has_alibi = config.asks_score_gradients = true;
      config.broadcast = Broadcast::over_batch_and_head;
      config.dropout = 0.2f;
      break;
    case 24:
      set_block_mask(config, 16, 32);
      break;
    case 25:
      set_block_mask(config, 128, 128);
      config.broadcast = Broadcast::over_batch_and_head;
      config.causal = Causal::lower_right;
      break;
    case 26:
      config.has_nan_keys = true;
      config.causal = Causal::upper_left;
      config.window = {.left = 3, .right = -1};
      break;
    case 27:
      cut_into_documents(config, 3, 5, engine);
      config.has_nan_keys = true;
      break;
    case 28:
      cut_into_documents(config, 4, 1, engine);
      config.has_sink = config.asks_score_gradients = true;
      break;
    case 29:
      config.page_size = 16;
      config.causal = Causal::lower_right;
      break;
    case 30:
      config.dtype = DType::f8_e4m3;
      config.has_descale = true;
      break;
    default:  // 31 .. 35
      config.program = feature - 30;
      config.asks_score_gradients = true;
      config.softcap = feature % 2 == 0 ? 5.0f : 0.0f;
      break;
  }
}

void set_heads(AttentionCase& config, const Heads& heads) {
  config.q_heads = heads.q_heads;
  config.kv_heads = heads.kv_heads;
  config.d = heads.d;
  config.dv = heads.dv;
}

void set_random_features(AttentionCase& config, std::mt19937& engine) {
  const auto one_in = [&engine](uint32_t n) { return engine() % n == 0; };
  config.causal = std::array{Causal::none, Causal::upper_left, Causal::lower_right}[engine() % 3];
  if (one_in(3)) {
    config.window = {.left = static_cast<int64_t>(engine() % 40) - 1,
                     .right = static_cast<int64_t>(engine() % 20) - 1};
  }
  config.has_mask = one_in(4);
  config.has_bias = one_in(4);
  config.broadcast = static_cast<Broadcast>(engine() % 4);
  config.has_alibi = one_in(4);
  config.has_d_lse = one_in(3);
  if (one_in(5)) {
    config.softcap = 3.0f;
  }
  if (one_in(4)) {
    config.dropout = 0.1f + 0.2f * static_cast<float>(engine() % 4);
  }
  config.q_magnitude = one_in(8) ? 20.0f : 1.0f;
  if (one_in(4)) {
    const int32_t unowned = one_in(3) ? 1 + static_cast<int32_t>(engine() % 9) : 0;
    cut_into_documents(config, 1 + static_cast<int>(engine() % 6), unowned, engine);
  }
  if (one_in(5)) {
    config.chunks = {.size = 1 + static_cast<int64_t>(engine() % 40)};
    config.chunks.shift = static_cast<int64_t>(engine()) % (config.chunks.size + 1);
    config.chunks.first_shifted_head = static_cast<int64_t>(engine() % 3);
  }
  if (one_in(5)) {
    set_block_mask(config, 1 + static_cast<int32_t>(engine() % 70),
                   1 + static_cast<int32_t>(engine() % 90));
  }
  config.program = one_in(4) ? 1 + static_cast<int>(engine() % kNumCasePrograms) : 0;
  config.has_sink = one_in(4);
  config.has_nan_keys = one_in(6);
  config.asks_score_gradients = one_in(2);
}

// Forward only.
void set_random_storage(AttentionCase& config, std::mt19937& engine) {
  if (engine() % 8 == 0) {
    config.page_size = 1 + static_cast<int32_t>(engine() % 33);
  }
  if (engine() % 12 == 0) {
    config.dtype = DType::f8_e4m3;
    config.has_descale = engine() % 2 == 0;
  }
}

}  // namespace

std::vector<AttentionCase> grid_cases() {
  std::vector<AttentionCase> cases;
  for (const DType dtype : kDTypes) {
    for (const Lengths& lengths : kLengths) {
      for (int feature = 0; feature < kNumFeatures; ++feature) {
        AttentionCase config;
        config.dtype = config.gradient_dtype = dtype;
        config.sq = lengths.sq;
        config.sk = lengths.sk;
        config.seed = static_cast<uint32_t>(1000 + cases.size());
        // Strides 11 and 3 are coprime to the grid's 36 features: all pairs meet in the end.
        set_heads(config, kHeads[cases.size() % kHeads.size()]);
        config.layout = kLayouts[cases.size() % kLayouts.size()];
        config.batch = 1 + static_cast<int64_t>(cases.size() % 2);
        set_feature(config, feature);
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
    set_random_features(config, engine);
    set_random_storage(config, engine);
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

}  // namespace regard::testing
