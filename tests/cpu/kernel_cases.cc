#include "kernel_cases.h"

#include <tuple>
#include <utility>

namespace regard::testing {
namespace {

// Several row tiles and key blocks each, in both directions.
AttentionCase tiles_case(const char* name) {
  AttentionCase config;
  config.name = name;
  config.q_heads = 4;
  config.kv_heads = 2;
  config.sq = 210;
  config.sk = 410;
  config.d = config.dv = 32;
  return config;
}

// Half of the heads have chunks that begin earlier, within one group of heads too.
void add_chunk_cases(std::vector<AttentionCase>& cases) {
  for (const auto& [name, first_shifted] :
       {std::pair{"chunks_by_group", 2}, {"chunks_in_group", 1}}) {
    cases.push_back(tiles_case(name));
    cases.back().sq = cases.back().sk = 400;
    cases.back().causal = Causal::lower_right;
    cases.back().chunks = {.size = 100, .shift = 50, .first_shifted_head = first_shifted};
  }
  cases.push_back(tiles_case("chunks_short_keys_alibi"));
  cases.back().sk = 130;
  cases.back().has_alibi = true;
  cases.back().chunks = {.size = 37, .shift = 11, .first_shifted_head = 3};
}

void add_length_cases(std::vector<AttentionCase>& cases) {
  cases.push_back(tiles_case("lengths"));
  cases.back().sq = cases.back().sk = 420;
  cases.back().unowned = 7;
  cases.back().documents = {{1, 3}, {100, 220}, {0, 5}, {200, 97}, {60, 0}};
  cases.back().causal = Causal::lower_right;
  cases.back().has_nan_keys = true;
  cases.push_back(cases.back());
  cases.back().name = "lengths_everything";
  cases.back().has_mask = cases.back().has_bias = cases.back().has_alibi = true;
  cases.back().has_sink = cases.back().has_d_lse = cases.back().asks_score_gradients = true;
  cases.back().block_q = 64;
  cases.back().block_k = 48;
}

// Gradients of what is added to scores, for every broadcast and for groups that do and do not
// divide a row tile.
void add_score_gradient_cases(std::vector<AttentionCase>& cases) {
  struct Named {
    const char* name;
    Broadcast broadcast;
    int64_t group;
  };
  for (const Named& named : {Named{"d_bias", Broadcast::full, 2},
                             {"d_bias_over_batch_and_head", Broadcast::over_batch_and_head, 2},
                             {"d_bias_group5", Broadcast::over_batch_and_head, 5},
                             {"d_bias_over_query", Broadcast::over_head_and_query, 2},
                             {"d_bias_over_key", Broadcast::over_key, 5}}) {
    cases.push_back(tiles_case(named.name));
    cases.back().batch = 2;
    cases.back().q_heads = 2 * named.group;
    cases.back().sk = 230;
    cases.back().causal = Causal::lower_right;
    cases.back().broadcast = named.broadcast;
    cases.back().has_bias = cases.back().has_alibi = cases.back().has_sink = true;
    cases.back().has_d_lse = cases.back().asks_score_gradients = true;
  }
  cases.push_back(cases.back());
  cases.back().name = "d_bias_softcap_dropout";
  cases.back().broadcast = Broadcast::full;
  cases.back().softcap = 2.0f;
  cases.back().dropout = 0.25f;
}

void add_mask_cases(std::vector<AttentionCase>& cases) {
  cases.push_back(tiles_case("sink_rows_without_keys"));
  cases.back().sk = 100;
  cases.back().causal = Causal::lower_right;
  cases.back().has_sink = cases.back().has_d_lse = cases.back().asks_score_gradients = true;
  cases.push_back(tiles_case("mask_over_query_nan_keys"));
  cases.back().has_mask = cases.back().has_nan_keys = true;
  cases.back().broadcast = Broadcast::over_head_and_query;
  cases.push_back(tiles_case("mask_over_key"));
  cases.back().has_mask = cases.back().has_bias = true;
  cases.back().broadcast = Broadcast::over_key;
  for (const auto& [name, block_q, block_k] : {std::tuple{"block_mask_128", 128, 128},
                                               {"block_mask_16", 16, 16},
                                               {"block_mask_33_200", 33, 200},
                                               {"block_mask_1_1", 1, 1}}) {
    cases.push_back(tiles_case(name));
    cases.back().batch = 2;
    cases.back().block_q = block_q;
    cases.back().block_k = block_k;
    cases.back().causal = block_q == 128 ? Causal::none : Causal::lower_right;
  }
  cases.push_back(cases.back());
  cases.back().name = "block_mask_shared_nan_keys";
  cases.back().broadcast = Broadcast::over_batch_and_head;
  cases.back().block_q = cases.back().block_k = 256;
  cases.back().has_nan_keys = true;
}

void add_f8_cases(std::vector<AttentionCase>& cases) {
  cases.push_back(tiles_case("f8_descale"));
  cases.back().dtype = DType::f8_e4m3;
  cases.back().has_descale = true;
  cases.back().has_sink = true;
  cases.back().causal = Causal::lower_right;
}

}  // namespace

std::vector<AttentionCase> kernel_cases() {
  constexpr auto kUpper = Causal::upper_left;
  constexpr auto kLower = Causal::lower_right;
  std::vector<AttentionCase> cases{
      {
          .name = "one_token",
          .sq = 1,
          .sk = 1,
          .d = 1,
          .dv = 1,
      },
      {
          .name = "full_d64",
          .sq = 200,
          .sk = 300,
          .d = 64,
          .dv = 64,
      },
      {
          .name = "full_d80_dv40",
          .sq = 97,
          .sk = 193,
          .d = 80,
          .dv = 40,
      },
      {
          .name = "d7_dv509_edge",
          .sq = 13,
          .sk = 29,
          .d = 7,
          .dv = 509,
      },
      {
          .name = "d600_dv1030",
          .sq = 101,
          .sk = 205,
          .d = 600,
          .dv = 1030,
          .causal = kLower,
      },
      {
          .name = "causal_upper",
          .sq = 400,
          .sk = 400,
          .d = 64,
          .dv = 64,
          .causal = kUpper,
      },
      {
          .name = "causal_upper_short_keys",
          .sq = 300,
          .sk = 111,
          .d = 32,
          .dv = 32,
          .causal = kUpper,
      },
      {
          .name = "causal_lower_long_keys",
          .sq = 111,
          .sk = 450,
          .d = 32,
          .dv = 32,
          .causal = kLower,
      },
      {
          .name = "causal_lower_short_keys",
          .sq = 260,
          .sk = 100,
          .d = 32,
          .dv = 32,
          .causal = kLower,
      },
      {
          .name = "gqa3_causal",
          .batch = 2,
          .q_heads = 6,
          .kv_heads = 2,
          .sq = 130,
          .sk = 130,
          .d = 64,
          .dv = 64,
          .causal = kLower,
      },
      {
          .name = "decode_gqa4",
          .batch = 3,
          .q_heads = 8,
          .kv_heads = 2,
          .sq = 1,
          .sk = 333,
          .d = 64,
          .dv = 64,
          .causal = kLower,
      },
      {
          .name = "window_100_0",
          .q_heads = 2,
          .kv_heads = 1,
          .sq = 500,
          .sk = 500,
          .d = 32,
          .dv = 32,
          .causal = kLower,
          .window = {100, 0},
      },
      {
          .name = "window_20_30",
          .sq = 300,
          .sk = 260,
          .d = 32,
          .dv = 32,
          .window = {20, 30},
      },
      {
          .name = "window_upper",
          .sq = 300,
          .sk = 100,
          .d = 32,
          .dv = 32,
          .causal = kUpper,
          .window = {10, -1},
      },
      {
          .name = "documents_causal_gqa3",
          .q_heads = 3,
          .kv_heads = 1,
          .sq = 400,
          .sk = 400,
          .d = 64,
          .dv = 64,
          .causal = kLower,
          .documents = {{1, 1}, {0, 0}, {99, 99}, {240, 240}, {60, 60}},
      },
      {
          .name = "documents_unequal",
          .sq = 120,
          .sk = 200,
          .d = 32,
          .dv = 32,
          .causal = kLower,
          .documents = {{50, 120}, {0, 80}, {70, 0}},
      },
      {
          .name = "mask",
          .q_heads = 2,
          .kv_heads = 2,
          .sq = 100,
          .sk = 210,
          .d = 32,
          .dv = 32,
          .has_mask = true,
      },
      {
          .name = "bias_causal",
          .q_heads = 2,
          .kv_heads = 1,
          .sq = 110,
          .sk = 210,
          .d = 32,
          .dv = 32,
          .causal = kLower,
          .has_bias = true,
      },
      {
          .name = "alibi_causal",
          .q_heads = 4,
          .kv_heads = 2,
          .sq = 110,
          .sk = 210,
          .d = 32,
          .dv = 32,
          .causal = kLower,
          .has_alibi = true,
      },
      {
          .name = "softcap",
          .sq = 110,
          .sk = 210,
          .d = 32,
          .dv = 32,
          .softcap = 2.0f,
      },
      {
          .name = "dropout",
          .q_heads = 2,
          .kv_heads = 1,
          .sq = 110,
          .sk = 210,
          .d = 32,
          .dv = 32,
          .causal = kLower,
          .dropout = 0.3f,
      },
      {
          .name = "d_lse",
          .sq = 110,
          .sk = 210,
          .d = 32,
          .dv = 32,
          .causal = kLower,
          .has_d_lse = true,
      },
      {
          .name = "everything",
          .batch = 2,
          .q_heads = 4,
          .kv_heads = 2,
          .sq = 150,
          .sk = 250,
          .d = 24,
          .dv = 48,
          .causal = kLower,
          .window = {90, 0},
          .has_mask = true,
          .has_bias = true,
          .has_alibi = true,
          .has_d_lse = true,
          .softcap = 3.0f,
          .dropout = 0.2f,
      },
      {
          .name = "no_keys",
          .sq = 5,
          .sk = 0,
          .d = 32,
          .dv = 32,
      },
      {
          .name = "large_scores",
          .sq = 100,
          .sk = 200,
          .d = 32,
          .dv = 32,
          .causal = kLower,
          .q_magnitude = 16.0f,
      },
      {
          .name = "bf16_gqa2_causal",
          .dtype = DType::bf16,
          .q_heads = 4,
          .kv_heads = 2,
          .sq = 200,
          .sk = 200,
          .d = 64,
          .dv = 64,
          .causal = kLower,
      },
      {
          .name = "f16_window",
          .dtype = DType::f16,
          .sq = 200,
          .sk = 200,
          .d = 40,
          .dv = 72,
          .causal = kLower,
          .window = {64, 0},
      },
  };
  add_chunk_cases(cases);
  add_length_cases(cases);
  add_score_gradient_cases(cases);
  add_mask_cases(cases);
  add_f8_cases(cases);
  for (AttentionCase& config : cases) {
    config.layout = Layout::sliced;
    config.gradient_dtype = config.result_dtype();
    config.seed = 17;
  }
  return cases;
}

}  // namespace regard::testing
