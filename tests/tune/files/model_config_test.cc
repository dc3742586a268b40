#include "tune/files/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "temp_folder.h"
#include "tune/files/atomic_write.h"
#include "tune/files/rope_scaling.h"

namespace tune {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using tune_test::usage_error_of;

json sizes(const std::string& model_type) {
  return {{"model_type", model_type}, {"vocab_size", 100},
          {"hidden_size", 64},        {"intermediate_size", 96},
          {"num_hidden_layers", 4},   {"num_attention_heads", 8},
          {"num_key_value_heads", 2}, {"max_position_embeddings", 512}};
}

json with(json base, const json& changes) {
  base.update(changes);
  return base;
}

ModelConfig parse(const json& config) { return parse_model_config(config.dump(1), "config.json"); }

TEST(ParseModelConfig, LlamaDefaults_AreTransformers) {
  json file = sizes("llama");
  file.erase("num_key_value_heads");
  file.erase("max_position_embeddings");
  const ModelConfig config = parse(file);
  EXPECT_EQ(config.architecture, Architecture::llama);
  EXPECT_EQ(config.num_key_value_heads, 8);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.max_position_embeddings, 2048);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_EQ(config.rope.theta, 10000.0);
  EXPECT_EQ(config.rope.scaling, RopeConfig::Scaling::none);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_FALSE(config.attention_bias);
  EXPECT_FALSE(config.mlp_bias);
  EXPECT_FALSE(config.qk_norm);
  EXPECT_EQ(config.sliding_window, std::nullopt);
  EXPECT_EQ(config.torch_dtype, "float32");
}

TEST(ParseModelConfig, LlamaOptions_AreRead) {
  const ModelConfig config = parse(with(sizes("llama"), {{"attention_bias", true},
                                                         {"mlp_bias", true},
                                                         {"tie_word_embeddings", true},
                                                         {"head_dim", 32},
                                                         {"rms_norm_eps", 1e-5},
                                                         {"initializer_range", 0.05},
                                                         {"bos_token_id", 1},
                                                         {"eos_token_id", {2, 7}},
                                                         {"pad_token_id", -1},
                                                         {"sliding_window", 9},
                                                         {"torch_dtype", "bfloat16"}}));
  EXPECT_TRUE(config.attention_bias);
  EXPECT_TRUE(config.attention_out_bias);
  EXPECT_TRUE(config.mlp_bias);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.head_dim, 32);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.initializer_range, 0.05);
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_EQ(config.eos_token_ids, (std::vector<int32_t>{2, 7}));
  EXPECT_EQ(config.pad_token_id, std::nullopt);
  EXPECT_EQ(config.sliding_window, std::nullopt);  // llama has none in Transformers either
  EXPECT_EQ(config.torch_dtype, "bfloat16");
}

TEST(ParseModelConfig, OldAndNewRopeKeys_MeanTheSame) {
  const json llama3 = {{"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 256}};
  const json old_form =
      with(sizes("llama"),
           {{"rope_theta", 500000.0}, {"rope_scaling", with(llama3, {{"rope_type", "llama3"}})}});
  const json new_form =
      with(sizes("llama"),
           {{"rope_parameters", with(llama3, {{"rope_type", "llama3"}, {"rope_theta", 500000}})}});
  for (const json& file : {old_form, new_form}) {
    const ModelConfig config = parse(file);
    EXPECT_EQ(config.rope.theta, 500000.0);
    EXPECT_EQ(config.rope.scaling, RopeConfig::Scaling::llama3);
    EXPECT_EQ(config.rope.factor, 8.0);
    EXPECT_EQ(config.rope.low_freq_factor, 1.0);
    EXPECT_EQ(config.rope.high_freq_factor, 4.0);
    EXPECT_EQ(config.rope.original_max_position_embeddings, 256);
  }
  const ModelConfig linear =
      parse(with(sizes("llama"), {{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}}));
  EXPECT_EQ(linear.rope.scaling, RopeConfig::Scaling::linear);
  EXPECT_EQ(linear.rope.factor, 2.0);
  const ModelConfig none = parse(
      with(sizes("llama"), {{"rope_scaling", nullptr},
                            {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e6}}}}));
  EXPECT_EQ(none.rope.scaling, RopeConfig::Scaling::none);
  EXPECT_EQ(none.rope.theta, 1e6);
}

TEST(ParseModelConfig, MistralWindow_NullAbsentAndNumber) {
  EXPECT_EQ(parse(with(sizes("mistral"), {{"sliding_window", nullptr}})).sliding_window,
            std::nullopt);
  EXPECT_EQ(parse(sizes("mistral")).sliding_window, 4096);
  EXPECT_EQ(parse(with(sizes("mistral"), {{"sliding_window", 16}})).sliding_window, 16);
}

TEST(ParseModelConfig, Qwen2_HasBiasAndWindowsByLayer) {
  const ModelConfig plain = parse(with(sizes("qwen2"), {{"sliding_window", 32}}));
  EXPECT_TRUE(plain.attention_bias);
  EXPECT_FALSE(plain.attention_out_bias);
  EXPECT_EQ(plain.sliding_window, std::nullopt);
  const ModelConfig windows =
      parse(with(sizes("qwen2"),
                 {{"sliding_window", 32}, {"use_sliding_window", true}, {"max_window_layers", 3}}));
  EXPECT_EQ(windows.sliding_window, 32);
  EXPECT_EQ(windows.layer_uses_sliding_window, (std::vector<bool>{false, false, false, true}));
  const std::string s = "sliding_attention", f = "full_attention";
  const ModelConfig types = parse(
      with(sizes("qwen2"),
           {{"sliding_window", 32}, {"use_sliding_window", true}, {"layer_types", {s, f, s, f}}}));
  EXPECT_EQ(types.layer_uses_sliding_window, (std::vector<bool>{true, false, true, false}));
}

TEST(ParseModelConfig, Qwen3_HasNormsAndWideHeads) {
  const ModelConfig config = parse(sizes("qwen3"));
  EXPECT_TRUE(config.qk_norm);
  EXPECT_FALSE(config.attention_bias);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(parse(with(sizes("qwen3"), {{"head_dim", 64}})).head_dim, 64);
}

TEST(ParseModelConfig, ModelTypeAbsent_ClassNameDecides) {
  json file = with(sizes("x"), {{"architectures", {"Qwen3ForCausalLM"}}});
  file.erase("model_type");
  EXPECT_EQ(parse(file).architecture, Architecture::qwen3);
}

struct Nonsense {
  const char* name;
  json changes;
  std::vector<const char*> words;
};

TEST(ParseModelConfig, Nonsense_NamesKeyAndValue) {
  const std::vector<Nonsense> cases = {
      {"ZeroHeads", {{"num_attention_heads", 0}}, {"num_attention_heads is 0"}},
      {"NegativeHeads", {{"num_attention_heads", -8}}, {"num_attention_heads is -8"}},
      {"ZeroLayers", {{"num_hidden_layers", 0}}, {"num_hidden_layers is 0; 1 to 4096"}},
      {"HugeLayers", {{"num_hidden_layers", 1000000}}, {"num_hidden_layers is 1000000"}},
      {"HugeVocabulary", {{"vocab_size", 1LL << 40}}, {"vocab_size is 1099511627776"}},
      {"Beyond63Bits", {{"vocab_size", UINT64_MAX}}, {"vocab_size is 18446744073709551615"}},
      {"NegativeHidden", {{"hidden_size", -64}}, {"hidden_size"}},
      {"ZeroIntermediate", {{"intermediate_size", 0}}, {"intermediate_size is 0"}},
      {"HeadsDoNotDivide", {{"num_attention_heads", 7}}, {"num_attention_heads is 7", "64"}},
      {"KvHeadsDoNotDivide", {{"num_key_value_heads", 3}}, {"num_key_value_heads is 3"}},
      {"MoreKvHeads", {{"num_key_value_heads", 16}}, {"num_key_value_heads is 16"}},
      {"ZeroKvHeads", {{"num_key_value_heads", 0}}, {"num_key_value_heads is 0"}},
      {"HeadDimOdd", {{"head_dim", 7}}, {"head_dim is 7", "even"}},
      {"HeadDimZero", {{"head_dim", 0}}, {"head_dim is 0"}},
      {"TextForNumber", {{"hidden_size", "64"}}, {"hidden_size is \"64\""}},
      {"FractionForNumber", {{"hidden_size", 64.5}}, {"hidden_size is 64.5"}},
      {"SizeMissing", {{"hidden_size", nullptr}}, {"hidden_size is missing"}},
      {"NoPositions", {{"max_position_embeddings", 0}}, {"max_position_embeddings is 0"}},
      {"EpsNegative", {{"rms_norm_eps", -1e-5}}, {"rms_norm_eps is -1e-05"}},
      {"EpsText", {{"rms_norm_eps", "x"}}, {"rms_norm_eps is \"x\""}},
      {"ThetaZero", {{"rope_theta", 0}}, {"rope_theta is 0"}},
      {"Activation", {{"hidden_act", "gelu"}}, {"hidden_act is \"gelu\"", "silu"}},
      {"Yarn", {{"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}}}}, {"type is \"yarn\""}},
      {"Yarn5",
       {{"rope_parameters", {{"rope_type", "yarn"}}}},
       {"rope_type is \"yarn\"", "linear"}},
      {"RopeList", {{"rope_scaling", {1, 2}}}, {"rope_scaling is [1,2]"}},
      {"RopeByLayer",
       {{"rope_parameters", {{"full_attention", {{"rope_theta", 1.0}}}}}},
       {"layer"}},
      {"LinearWithoutFactor", {{"rope_scaling", {{"type", "linear"}}}}, {"factor is missing"}},
      {"FactorBelowOne",
       {{"rope_scaling", {{"type", "linear"}, {"factor", 0.5}}}},
       {"factor is 0.5"}},
      {"Llama3Limits",
       {{"rope_scaling",
         {{"rope_type", "llama3"},
          {"factor", 8},
          {"low_freq_factor", 4},
          {"high_freq_factor", 4}}}},
       {"low_freq_factor is 4", "below"}},
      {"PartialRotary", {{"partial_rotary_factor", 0.5}}, {"partial_rotary_factor"}},
      {"Quantised", {{"quantization_config", {{"quant_method", "gptq"}}}}, {"gptq", "GGUF"}},
      {"TieNumber", {{"tie_word_embeddings", 1}}, {"tie_word_embeddings is 1"}},
      {"EosText", {{"eos_token_id", "</s>"}}, {"eos_token_id"}},
      {"BosHuge", {{"bos_token_id", 1LL << 40}}, {"bos_token_id"}},
      {"Dtype", {{"torch_dtype", "int8"}}, {"torch_dtype is \"int8\""}},
      {"Architecture", {{"model_type", "gpt2"}}, {"gpt2", "llama, mistral, qwen2, qwen3"}},
      {"ArchitectureMissing", {{"model_type", nullptr}}, {"model_type is missing"}},
  };
  for (const Nonsense& wrong : cases) {
    SCOPED_TRACE(wrong.name);
    const std::string message = usage_error_of([&] { parse(with(sizes("llama"), wrong.changes)); });
    EXPECT_THAT(message, HasSubstr("config.json"));
    for (const char* word : wrong.words) EXPECT_THAT(message, HasSubstr(word));
  }
}

TEST(ParseModelConfig, NonsenseWindows_AreRefused) {
  EXPECT_THAT(usage_error_of([] {
                parse(with(sizes("mistral"), {{"sliding_window", 0}}));
              }),
              HasSubstr("sliding_window is 0"));
  EXPECT_THAT(usage_error_of([] {
                parse(with(sizes("qwen2"), {{"layer_types", {"x"}}}));
              }),
              HasSubstr("a list of 4 kinds"));
  const std::vector<std::string> linear(4, "linear_attention");
  EXPECT_THAT(usage_error_of([&] {
                parse(with(sizes("qwen3"), {{"layer_types", linear}}));
              }),
              HasSubstr("linear_attention"));
  const std::vector<std::string> sliding(4, "sliding_attention");
  EXPECT_THAT(usage_error_of([&] {
                parse(with(sizes("qwen3"), {{"layer_types", sliding}}));
              }),
              HasSubstr("use_sliding_window"));
}

TEST(ParseModelConfig, NotJson_NamesLineAndColumn) {
  const auto message = [](const std::string& text) {
    return usage_error_of([&] { parse_model_config(text, "c.json"); });
  };
  EXPECT_THAT(message("{\n  \"a\": 1,\n  b\n}"), HasSubstr("c.json: not JSON: error at line 3"));
  EXPECT_THAT(message(""), HasSubstr("not JSON"));
  EXPECT_THAT(message("[]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(message("\x7f\x45\x4c\x46\xff"), HasSubstr("not UTF-8"));
  EXPECT_THAT(message("{\"a\":1,\"a\":2}"), HasSubstr("appears twice"));
  EXPECT_THAT(message("{\"hidden_size\":1e999}"), HasSubstr("number out of range"));
  EXPECT_THAT(message(std::string(100000, '[')), HasSubstr("deeper"));
}

TEST(ParseModelConfig, Fault_NamesItsLine) {
  const std::string message = usage_error_of([] {
    parse(with(sizes("llama"), {{"vocab_size", -1}}));
  });
  EXPECT_THAT(message, HasSubstr("config.json:9: vocab_size is -1"));  // the last key of eight
}

void expect_equal(const ModelConfig& a, const ModelConfig& b) {
  EXPECT_EQ(a.architecture, b.architecture);
  EXPECT_EQ(
      std::tie(a.vocab_size, a.hidden_size, a.intermediate_size, a.num_hidden_layers,
               a.num_attention_heads, a.num_key_value_heads, a.head_dim, a.max_position_embeddings),
      std::tie(b.vocab_size, b.hidden_size, b.intermediate_size, b.num_hidden_layers,
               b.num_attention_heads, b.num_key_value_heads, b.head_dim,
               b.max_position_embeddings));
  EXPECT_EQ(std::tie(a.rms_norm_eps, a.initializer_range, a.tie_word_embeddings, a.attention_bias,
                     a.attention_out_bias, a.mlp_bias, a.qk_norm, a.torch_dtype),
            std::tie(b.rms_norm_eps, b.initializer_range, b.tie_word_embeddings, b.attention_bias,
                     b.attention_out_bias, b.mlp_bias, b.qk_norm, b.torch_dtype));
  EXPECT_EQ(std::tie(a.sliding_window, a.layer_uses_sliding_window, a.bos_token_id, a.pad_token_id,
                     a.eos_token_ids),
            std::tie(b.sliding_window, b.layer_uses_sliding_window, b.bos_token_id, b.pad_token_id,
                     b.eos_token_ids));
  EXPECT_EQ(a.rope.scaling, b.rope.scaling);
  EXPECT_EQ(std::tie(a.rope.theta, a.rope.factor, a.rope.low_freq_factor, a.rope.high_freq_factor,
                     a.rope.original_max_position_embeddings),
            std::tie(b.rope.theta, b.rope.factor, b.rope.low_freq_factor, b.rope.high_freq_factor,
                     b.rope.original_max_position_embeddings));
}

TEST(ModelConfigToJson, EveryKind_ReadsBackTheSame) {
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 32.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 128}};
  const std::vector<json> files = {
      with(sizes("llama"),
           {{"rope_scaling", llama3}, {"mlp_bias", true}, {"eos_token_id", {1, 2}}}),
      with(sizes("llama"), {{"rope_scaling", {{"type", "linear"}, {"factor", 3.5}}},
                            {"tie_word_embeddings", true},
                            {"attention_bias", true}}),
      with(sizes("mistral"), {{"sliding_window", 24}, {"bos_token_id", 1}}),
      with(sizes("mistral"), {{"sliding_window", nullptr}}),
      with(sizes("qwen2"), {{"use_sliding_window", true}, {"max_window_layers", 1}}),
      sizes("qwen2"),
      with(sizes("qwen3"), {{"attention_bias", true}, {"pad_token_id", 3}, {"dtype", "float16"}}),
  };
  for (const json& file : files) {
    SCOPED_TRACE(file.dump());
    const ModelConfig config = parse(file);
    expect_equal(parse_model_config(model_config_to_json(config), "written"), config);
  }
}

TEST(RecoverLlama3Scaling, DivisorsOfKnownParameters_GiveTheParameters) {
  for (const auto& [factor, high, original, theta, head_dim] :
       std::vector<std::tuple<double, double, int64_t, double, int64_t>>{
           {8.0, 4.0, 8192, 500000.0, 128},
           {32.0, 4.0, 8192, 500000.0, 64},
           {16.0, 8.0, 4096, 10000.0, 128},
           {4.0, 2.5, 2048, 10000.0, 256}}) {
    RopeConfig rope;
    rope.theta = theta;
    rope.scaling = RopeConfig::Scaling::llama3;
    rope.factor = factor;
    rope.low_freq_factor = 1.0;
    rope.high_freq_factor = high;
    rope.original_max_position_embeddings = original;
    const auto exact = rope_frequency_divisors(rope, head_dim);
    const std::vector<float> stored(exact.begin(), exact.end());
    const auto recovered = recover_llama3_scaling(stored, theta);
    ASSERT_TRUE(recovered.has_value()) << factor << " " << high << " " << original;
    EXPECT_EQ(recovered->factor, factor);
    EXPECT_EQ(recovered->high_freq_factor, high);
    EXPECT_NEAR(static_cast<double>(recovered->original_max_position_embeddings),
                static_cast<double>(original), 1.0);
    const auto again = rope_frequency_divisors(*recovered, head_dim);
    for (size_t i = 0; i < exact.size(); ++i) EXPECT_NEAR(again[i], exact[i], 1e-3 * exact[i]);
  }
}

TEST(RecoverLlama3Scaling, OtherDivisors_GiveNothing) {
  std::vector<float> divisors(32, 1.0F);
  for (size_t i = 0; i < divisors.size(); ++i) divisors[i] = 1.0F + static_cast<float>(i) * 0.37F;
  EXPECT_FALSE(recover_llama3_scaling(divisors, 10000.0).has_value());
  divisors[3] = -1.0F;
  EXPECT_FALSE(recover_llama3_scaling(divisors, 10000.0).has_value());
}

// By hand for head_dim 4: frequencies 1 and theta^-1/2; the second turns
// 8192 / (2 pi sqrt(500000)) = 1.8438 times, so s = 0.28127 and d = 1 / (0.71873 / 8 + 0.28127).
TEST(RopeFrequencyDivisors, Llama3_FollowsTheDefinition) {
  RopeConfig rope;
  rope.theta = 500000.0;
  rope.scaling = RopeConfig::Scaling::llama3;
  rope.factor = 8.0;
  rope.low_freq_factor = 1.0;
  rope.high_freq_factor = 4.0;
  const auto divisors = rope_frequency_divisors(rope, 4);
  ASSERT_EQ(divisors.size(), 2U);
  EXPECT_EQ(divisors[0], 1.0);
  EXPECT_NEAR(divisors[1], 2.6945, 1e-3);
}

}  // namespace
}  // namespace tune
