#include "tests/support/case_features.h"

#include <algorithm>
#include <array>

namespace regard::testing {
namespace {

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

void set_program(AttentionCase& config, int program) {
  config.program = program;
  config.asks_score_gradients = true;
  config.softcap = program % 2 == 1 ? 5.0f : 0.0f;
}

const AddFeature kFeatures[] = {
    // none
    [](AttentionCase&) {},
    [](AttentionCase& config) { config.causal = Causal::upper_left; },
    [](AttentionCase& config) { config.causal = Causal::lower_right; },
    [](AttentionCase& config) { config.window = {.left = 5, .right = 3}; },
    [](AttentionCase& config) {
      config.causal = Causal::lower_right;
      config.window = {.left = 9, .right = -1};
    },
    [](AttentionCase& config) { config.has_mask = true; },
    [](AttentionCase& config) { config.has_bias = true; },
    [](AttentionCase& config) {
      config.has_alibi = true;
      config.causal = Causal::lower_right;
    },
    [](AttentionCase& config) {
      config.softcap = 5.0f;
      config.q_magnitude = 1.25f;  // softcap / 4, as the FlashAttention tests scale q
    },
    [](AttentionCase& config) { config.dropout = 0.3f; },
    [](AttentionCase& config) {
      config.has_d_lse = true;
      config.causal = Causal::upper_left;
    },
    [](AttentionCase& config) { config.q_magnitude = 40.0f; },
    [](AttentionCase& config) {
      config.causal = Causal::upper_left;
      config.window = {.left = 0, .right = 0};
    },
    [](AttentionCase& config) {
      config.has_mask = true;
      config.broadcast = Broadcast::over_head_and_query;
    },
    [](AttentionCase& config) { config.chunks = {.size = 7}; },
    // the shape of shifted sparse attention
    [](AttentionCase& config) {
      config.causal = Causal::lower_right;
      config.chunks = {.size = 16, .shift = 8, .first_shifted_head = config.q_heads / 2};
    },
    [](AttentionCase& config) { config.has_sink = config.asks_score_gradients = true; },
    [](AttentionCase& config) {
      config.has_sink = config.has_d_lse = config.asks_score_gradients = true;
      config.causal = Causal::lower_right;
    },
    [](AttentionCase& config) { ask_for_bias_gradient(config, Broadcast::full); },
    [](AttentionCase& config) {
      ask_for_bias_gradient(config, Broadcast::over_batch_and_head);
      config.causal = Causal::upper_left;
    },
    [](AttentionCase& config) { ask_for_bias_gradient(config, Broadcast::over_head_and_query); },
    [](AttentionCase& config) {
      ask_for_bias_gradient(config, Broadcast::over_key);
      config.has_d_lse = true;
    },
    [](AttentionCase& config) { config.has_alibi = config.asks_score_gradients = true; },
    [](AttentionCase& config) {
      config.has_alibi = config.asks_score_gradients = true;
      config.broadcast = Broadcast::over_batch_and_head;
      config.dropout = 0.2f;
    },
    [](AttentionCase& config) { set_block_mask(config, 16, 32); },
    [](AttentionCase& config) {
      set_block_mask(config, 128, 128);
      config.broadcast = Broadcast::over_batch_and_head;
      config.causal = Causal::lower_right;
    },
    [](AttentionCase& config) {
      config.has_nan_keys = true;
      config.causal = Causal::upper_left;
      config.window = {.left = 3, .right = -1};
    },
    [](AttentionCase& config) {
      std::mt19937 engine(config.seed);
      cut_into_documents(config, 3, 5, engine);
      config.has_nan_keys = true;
    },
    [](AttentionCase& config) {
      std::mt19937 engine(config.seed);
      cut_into_documents(config, 4, 1, engine);
      config.has_sink = config.asks_score_gradients = true;
    },
    [](AttentionCase& config) {
      config.page_size = 16;
      config.causal = Causal::lower_right;
    },
    [](AttentionCase& config) {
      config.dtype = DType::f8_e4m3;
      config.has_descale = true;
    },
    [](AttentionCase& config) { set_program(config, 1); },
    [](AttentionCase& config) { set_program(config, 2); },
    [](AttentionCase& config) { set_program(config, 3); },
    [](AttentionCase& config) { set_program(config, 4); },
    [](AttentionCase& config) { set_program(config, 5); },
};

}  // namespace

std::span<const AddFeature> case_features() { return kFeatures; }

void add_random_features(AttentionCase& config, std::mt19937& engine) {
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

void add_random_storage(AttentionCase& config, std::mt19937& engine) {
  if (engine() % 8 == 0) {
    config.page_size = 1 + static_cast<int32_t>(engine() % 33);
  }
  if (engine() % 12 == 0) {
    config.dtype = DType::f8_e4m3;
    config.has_descale = engine() % 2 == 0;
  }
}

}  // namespace regard::testing
