// check_text and check_file on what is not a configuration, overrides, the round trip through YAML
// and the forms of a finding.
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "check_fixture.h"
#include "tune/config/schema.h"

namespace tune {
namespace {

using CheckText = RuleTest;

CheckOptions options(std::vector<std::pair<std::string, std::string>> overrides = {}) {
  return {regard::describe_machine("cpu"), Purpose::train, std::move(overrides)};
}

// The text is refused as a whole: one finding, rule 28.
void expect_refused(const std::string& text, int line, int column, const std::string& word) {
  const CheckResult result = check_text(text, "run.yml", options());
  ASSERT_EQ(result.findings.size(), 1u) << all_findings(result);
  EXPECT_EQ(result.findings[0].rule, 28);
  EXPECT_EQ(result.findings[0].line.value_or(0), line) << all_findings(result);
  if (column > 0) {
    EXPECT_EQ(result.findings[0].column.value_or(0), column) << all_findings(result);
  }
  EXPECT_NE(result.findings[0].message.find(word), std::string::npos) << all_findings(result);
}

TEST_F(CheckText, EmptyFile_IsRefused) {
  expect_refused("", 1, 1, "empty");
  expect_refused("\n\n# only a comment\n", 1, 1, "empty");
  expect_refused("---\n", 1, 1, "empty");
  expect_refused("\xEF\xBB\xBF", 1, 1, "empty");
}

TEST_F(CheckText, NotAMapping_IsRefused) {
  expect_refused("- a\n- b\n", 1, 1, "a list");
  expect_refused("\njust words\n", 2, 1, "a single value");
  expect_refused("42", 1, 1, "not a mapping");
}

TEST_F(CheckText, NotUtf8_IsRefusedWithLineAndColumn) {
  expect_refused("seed: 1\nname: \xFF\n", 2, 7, "0xFF is not UTF-8");
  expect_refused("a: \xC3(\n", 1, 4, "UTF-8");             // cut sequence
  expect_refused("a: \xC0\x80\n", 1, 4, "UTF-8");          // overlong NUL
  expect_refused("a: \xED\xA0\x80\n", 1, 4, "UTF-8");      // surrogate
  expect_refused("a: \xF5\x80\x80\x80\n", 1, 4, "UTF-8");  // above U+10FFFF
  expect_refused("a: \xE2\x82", 1, 4, "UTF-8");            // truncated
  expect_refused(std::string("\xFF\xFE"
                             "a\0:\0",
                             6),
                 1, 1, "UTF-8");  // UTF-16
}

TEST_F(CheckText, BinaryAndNul_AreRefused) {
  expect_refused(std::string("seed: 1\nx: \0\n", 13), 2, 4, "binary");
  expect_refused(std::string("\x7f"
                             "ELF\x02\x01\x01\0",
                             8),
                 1, 1, "binary");
  expect_refused("GGUF\x03", 1, 5, "binary");
}

TEST_F(CheckText, BrokenYaml_IsRefusedAtItsPlace) {
  expect_refused("a: [1, 2\nb: 3\n", 2, 0, "not valid YAML");
  expect_refused("seed: 1\n\tlora_r: 2\n", 2, 0, "not valid YAML");
  expect_refused("seed: 1\nname: \"unfinished\n", 2, 7, "never closed");
  expect_refused("name: 'it''s un\n", 1, 7, "never closed");
  expect_refused("name: 'un\nfinished", 2, 0, "not valid YAML");
  expect_refused("seed: 1\n\"unfini", 2, 0, "");
  expect_refused("a: b: c\n", 1, 0, "not valid YAML");
  expect_refused("a: {b: 1\n", 2, 0, "not valid YAML");
}

TEST_F(CheckText, SeveralDocuments_AreRefusedAtTheSecond) {
  expect_refused("seed: 1\n---\nseed: 2\n", 2, 0, "second YAML document");
}

TEST_F(CheckText, OneDocumentWithMarkers_IsFine) {
  const CheckResult result =
      check_text("%YAML 1.2\n---\n" + file("") + "...\n", "run.yml", options());
  EXPECT_TRUE(result.ok()) << all_findings(result);
}

TEST_F(CheckText, OddKeysAndTags_AreRefused) {
  expect_refused("? [a]\n: b\n", 1, 0, "a key must be text");
  expect_refused(": b\n", 1, 0, "key is missing");
  expect_refused("seed: !!python/object:os.system 1\n", 1, 0, "tags");
  expect_refused("seed: &a [*a]\n", 1, 0, "alias");
  expect_refused("seed: *nowhere\n", 1, 0, "not valid YAML");
}

TEST_F(CheckText, Nesting_IsBounded) {
  expect_refused("a: " + std::string(100, '[') + std::string(100, ']'), 1, 35, "nested deeper");
  expect_refused("a: " + std::string(100000, '['), 1, 0, "");
  expect_refused("a: " + std::string(100000, '{'), 1, 0, "");
  std::string block;
  for (int i = 0; i < 200; ++i) block += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  EXPECT_FALSE(check_text(block, "run.yml", options()).ok());
}

TEST_F(CheckText, AliasBomb_IsRefused) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int j = 0; j < 10; ++j) text += "*a" + std::to_string(i - 1) + (j < 9 ? ", " : "]\n");
  }
  const CheckResult result = check_text(text, "run.yml", options());
  ASSERT_EQ(result.findings.size(), 1u);
  EXPECT_NE(result.findings[0].message.find("aliases"), std::string::npos);
}

TEST_F(CheckText, HugeText_IsRefused) {
  expect_refused(std::string((1 << 20) + 1, '#'), 0, 0, "1 MiB");
}

TEST_F(CheckText, BomAndCrlf_AreRead) {
  std::string text = "\xEF\xBB\xBFseed: 7\r\nlaerning_rate: 1\r\n";
  const CheckResult result = check_text(text, "run.yml", options());
  EXPECT_EQ(result.config.seed, 7);
  expect_one(result, 27, Severity::error, "laerning_rate", 2);
  EXPECT_EQ(findings_of(result, 27)[0].column.value_or(0), 1);
}

TEST_F(CheckText, AnchorsAndMergeKeys_AreRead) {
  for (const std::string name : {"a.jsonl", "b.jsonl"}) write_file(name, "{}\n");
  const CheckResult result = check(
      "test_datasets:\n  - &one {path: a.jsonl, type: alpaca, split: train}\n"
      "  - <<: *one\n    path: b.jsonl\ntokens: &words [x, y]\nlora_target_modules: *words\n");
  EXPECT_TRUE(result.ok()) << all_findings(result);
  ASSERT_EQ(result.config.test_datasets.size(), 2u);
  EXPECT_EQ(result.config.test_datasets[1].path, "b.jsonl");
  EXPECT_EQ(result.config.test_datasets[1].split, "train");
  EXPECT_EQ(result.config.lora_target_modules, (std::vector<std::string>{"x", "y"}));
}

TEST_F(CheckText, UnreadableFile_IsAFindingWithoutLine) {
  for (const std::string& path : {(folder_ / "absent.yml").string(), folder_.string()}) {
    const CheckResult result = check_file(path, options());
    ASSERT_EQ(result.findings.size(), 1u) << path;
    EXPECT_EQ(result.findings[0].rule, 28);
    EXPECT_FALSE(result.findings[0].line.has_value());
    EXPECT_NE(result.findings[0].message.find("cannot be read"), std::string::npos) << path;
  }
}

TEST_F(CheckText, File_IsReadAndNamesItself) {
  write_file("run.yml", file("seed: 9\n"));
  const std::string path = (folder_ / "run.yml").string();
  const CheckResult result = check_file(path, options());
  EXPECT_TRUE(result.ok()) << all_findings(result);
  EXPECT_EQ(result.config.seed, 9);
  EXPECT_EQ(result.config.source_path, path);
}

CheckResult with(const std::string& text,
                 std::vector<std::pair<std::string, std::string>> overrides) {
  return check_text(text, "run.yml", options(std::move(overrides)));
}

TEST_F(CheckText, Override_ReplacesTheFilesKeyAndHasNoLine) {
  const std::string text = file("seed: 1\nsequence_len: 128\n");
  EXPECT_EQ(with(text, {{"seed", "5"}}).config.seed, 5);
  EXPECT_DOUBLE_EQ(with(text, {{"learning-rate", "1e-3"}}).config.learning_rate, 1e-3);
  EXPECT_EQ(with(text, {{"--seed", "6"}}).config.seed, 6);
  EXPECT_EQ(with(text, {{"seed", "6"}, {"seed", "7"}}).config.seed, 7);
  const CheckResult wrong = with(text, {{"sequence_len", "abc"}});
  expect_one(wrong, 28, Severity::error, "sequence_len", 0, {"abc"});
  EXPECT_FALSE(findings_of(wrong, 28)[0].column.has_value());
}

TEST_F(CheckText, Override_OfARule_HasNoLine) {
  expect_one(with(file("flash_attention: true\n"), {{"sdp_attention", "true"}}), 1, Severity::error,
             "flash_attention", 1, {"sdp_attention"});
  expect_one(with(file(""), {{"attn_implementation", "flash"}}), 3, Severity::error,
             "attn_implementation", 0);
  expect_one(with(file(""), {{"sed", "1"}}), 27, Severity::error, "sed", 0, {"seed"});
}

TEST_F(CheckText, Override_ThatIsWrong_IsReportedByTheOptionNotTheFile) {
  const auto text_of = [&](const std::string& key, const std::string& value, int rule) {
    return format_finding(findings_of(with(file(""), {{key, value}}), rule).at(0), "run.yml");
  };
  EXPECT_EQ(text_of("learning-rate", "fast", 28).rfind("--learning_rate: error: ", 0), 0u);
  EXPECT_EQ(text_of("datasets.0.type", "apalca", 28).rfind("--datasets.0.type: error: ", 0), 0u);
  EXPECT_EQ(text_of("datasets", "[{path: gone.jsonl}]", 33).rfind("--datasets: error: ", 0), 0u);
  EXPECT_EQ(text_of("attn_implementation", "flash", 3).rfind("--attn_implementation: ", 0), 0u);
  // A default that no option set stays the file's.
  EXPECT_EQ(text_of("seed", "5", 22).rfind("run.yml: set: ", 0), 0u);
}

TEST_F(CheckText, Override_Null_TakesTheKeyBack) {
  const std::string text = file("adapter: lora\nflash_attention: true\n");
  EXPECT_EQ(with(text, {{"adapter", "null"}}).config.adapter, "");
  EXPECT_EQ(with(text, {{"adapter", ""}}).config.adapter, "");
  EXPECT_EQ(with(text, {{"flash_attention", "null"}}).config.attention, regard::Module::sdpa);
}

TEST_F(CheckText, Override_ListsTextsAndNestedKeys) {
  const std::string text = file("special_tokens: {pad_token: a}\n");
  EXPECT_EQ(with(text, {{"lora_target_modules", "[q_proj, v_proj]"}}).config.lora_target_modules,
            (std::vector<std::string>{"q_proj", "v_proj"}));
  EXPECT_EQ(with(text, {{"output_dir", "2024"}}).config.output_dir, "2024");
  EXPECT_EQ(with(text, {{"sample_prompt", "Define: love"}}).config.sample_prompt, "Define: love");
  EXPECT_EQ(with(text, {{"flex_mask_mod", "q >= kv && [x"}}).config.flex_mask_mod, "q >= kv && [x");
  const Config config = with(text, {{"special_tokens.pad_token", "b"},
                                    {"special_tokens.eos_token", "c"},
                                    {"datasets[0].path", "new.jsonl"},
                                    {"datasets.0.type", "completion"}})
                            .config;
  EXPECT_EQ(config.special_tokens.at("pad_token"), "b");
  EXPECT_EQ(config.special_tokens.at("eos_token"), "c");
  ASSERT_EQ(config.datasets.size(), 1u);
  EXPECT_EQ(config.datasets[0].path, "new.jsonl");
  EXPECT_EQ(config.datasets[0].type, "completion");
}

TEST_F(CheckText, Override_ThatHasNoPlace_IsRule28) {
  for (const std::string key : {"datasets[7].path", "seed.x", "", "a..b"}) {
    const CheckResult result = with(file("seed: 1\n"), {{key, "1"}});
    ASSERT_EQ(findings_of(result, 28).size(), 1u) << key << "\n" << all_findings(result);
    EXPECT_FALSE(findings_of(result, 28)[0].line.has_value());
  }
  EXPECT_EQ(findings_of(with(file(""), {{"seed", "\xFF"}}), 28).size(), 1u);
}

// What a file alone cannot know again.
Config comparable(Config config) {
  config.source_path.clear();
  for (DatasetConfig& dataset : config.datasets) dataset.line = 0;
  for (DatasetConfig& dataset : config.test_datasets) dataset.line = 0;
  return config;
}

void expect_round_trip(const Config& config, Purpose purpose) {
  const std::string yaml = config_to_yaml(config);
  const CheckResult again =
      check_text(yaml, "again.yml", {regard::describe_machine("turing"), purpose, {}});
  EXPECT_TRUE(findings_of(again, 28).empty()) << all_findings(again) << yaml;
  EXPECT_TRUE(findings_of(again, 27).empty()) << all_findings(again) << yaml;
  EXPECT_TRUE(findings_of(again, 20).empty()) << all_findings(again) << yaml;
  EXPECT_TRUE(comparable(again.config) == comparable(config)) << yaml;
}

TEST_F(CheckText, RoundTrip_Defaults_AreEqual) {
  expect_round_trip(check("", "cpu").config, Purpose::train);
  expect_round_trip(check_text("seed: 1\n", "r.yml", options()).config, Purpose::infer);
}

TEST_F(CheckText, RoundTrip_EverythingSet_IsEqual) {
  const CheckResult result = check(
      "flex_attention: true\ntorch_compile: auto\nflex_score_mod: \"score * 2\"\n"
      "flex_tensors: {s: {from: a.safetensors#x, trainable: true}, t: alibi}\n"
      "sample_packing: true\nval_set_size: 0.05\nadapter: qlora\nload_in_4bit: true\n"
      "lora_r: 16\nlora_alpha: 0.1\nlora_target_modules: [\"q\\\"p\", \"k\\\\\", 'true', '5']\n"
      "special_tokens: {pad_token: \"<|pad|>\\n\\t\\u00e9\\U0001F600\"}\ntokens: ['null', '~', a]\n"
      "warmup_ratio: 0.03\nsave_steps: 7\nevals_per_epoch: 0.5\neval_strategy: 'no'\n"
      "cosine_min_lr_ratio: 0.1\nadam_epsilon: 1.23456789012345e-9\nbf16: true\n"
      "sample_prompt: \"two\\nlines: # not a comment\"\ntest_datasets: []\nseed: 12345678901\n",
      "ampere");
  EXPECT_TRUE(findings_of(result, 28).empty()) << all_findings(result);
  expect_round_trip(result.config, Purpose::train);
}

TEST_F(CheckText, RoundTrip_EveryDatasetKey_IsEqual) {
  for (const std::string name : {"x", "y", "one.jsonl"}) write_file(name, "{}\n");
  const CheckResult result = check(
      "test_datasets:\n  - {path: a b.jsonl, type: chat_template, name: n, split: s, ds_type: json,"
      " data_files: [x, y], field: f, field_messages: m, message_property_mappings: {role: from,"
      " content: value}, roles_to_train: [], train_on_eos: none, chat_template: chatml}\n"
      "  - {path: b.jsonl, data_files: one.jsonl}\n");
  EXPECT_TRUE(result.ok()) << all_findings(result);
  ASSERT_EQ(result.config.test_datasets.size(), 2u);
  EXPECT_TRUE(result.config.test_datasets[0].roles_to_train.empty());
  EXPECT_EQ(result.config.test_datasets[1].data_files, std::vector<std::string>{"one.jsonl"});
  expect_round_trip(result.config, Purpose::train);
}

TEST_F(CheckText, FormatFinding_IsFileLineColumnSeverityMessageRule) {
  const CheckResult result = check("sequence_len: 0\n");
  const std::string text = format_finding(findings_of(result, 28).at(0), "a/run.yml");
  EXPECT_EQ(text.rfind("a/run.yml:1:15: error: sequence_len: 0 is out of range", 0), 0u) << text;
  EXPECT_EQ(text.substr(text.size() - 10), " [rule 28]") << text;
  const CheckResult none = check("");
  EXPECT_EQ(format_finding(findings_of(none, 4).at(0), "run.yml").rfind("run.yml: note: ", 0), 0u);
}

TEST_F(CheckText, Json_HasExactlyTheSixKeysInOrderAndNulls) {
  const CheckResult result = check("sequence_len: 0\n");
  const auto array = nlohmann::ordered_json::parse(findings_to_json(result.findings));
  ASSERT_EQ(array.size(), result.findings.size());
  for (const auto& entry : array) {
    std::vector<std::string> keys;
    for (const auto& item : entry.items()) keys.push_back(item.key());
    EXPECT_EQ(keys,
              (std::vector<std::string>{"rule", "severity", "key", "line", "column", "message"}));
    if (entry["rule"] == 28) {
      EXPECT_EQ(entry["severity"], "error");
      EXPECT_EQ(entry["key"], "sequence_len");
      EXPECT_EQ(entry["line"], 1);
      EXPECT_EQ(entry["column"], 15);
    }
    if (entry["rule"] == 4) {
      EXPECT_TRUE(entry["line"].is_null());
      EXPECT_TRUE(entry["column"].is_null());
    }
  }
  const CheckResult empty = check_text("", "run.yml", options());
  EXPECT_TRUE(nlohmann::json::parse(findings_to_json(empty.findings))[0]["key"].is_null());
  EXPECT_EQ(nlohmann::json::parse(findings_to_json({})).size(), 0u);
}

TEST_F(CheckText, Json_OfTextThatIsNotUtf8_IsStillJson) {
  Finding finding;
  finding.message = "path \xFF";
  EXPECT_NO_THROW(nlohmann::json::parse(findings_to_json({finding})));
}

TEST(KeyReference, CommittedFile_IsWhatTheSchemaSays) {
  const std::string path = std::string(REGARD_TEST_DATA) + "/../../docs/keys.md";
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file) << path;
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), key_reference_markdown()) << "run the target key_reference";
}

TEST(KeyReference, EveryKey_HasHelpAndARow) {
  const std::string text = key_reference_markdown();
  for (const std::string& key : config_key_names()) {
    EXPECT_NE(text.find("| `" + key + "` |"), std::string::npos) << key;
  }
  for (const std::string& key : dataset_key_names()) {
    EXPECT_NE(text.find("| `" + key + "` |"), std::string::npos) << key;
  }
  EXPECT_EQ(text.find(" |  |\n"), std::string::npos) << "a key without help";
}

TEST(NearestKey, Misspellings_FindTheirKey) {
  const std::vector<std::string> keys = config_key_names();
  EXPECT_EQ(nearest_key("sequnce_len", keys), "sequence_len");
  EXPECT_EQ(nearest_key("lora-r", keys), "lora_r");
  EXPECT_EQ(nearest_key("micro_batchsize", keys), "micro_batch_size");
  EXPECT_EQ(nearest_key("anything", {}), "");
  EXPECT_EQ(nearest_key("learnin_raet", keys), "learning_rate");
  for (const std::string other : {"attention", "temperature", "x", "gpu_count", "no_such_thing"})
    EXPECT_EQ(nearest_key(other, keys), "") << other;
  EXPECT_EQ(edit_distance("abcd", "abdc"), 1);  // neighbours may swap
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("", "abc"), 3);
}

}  // namespace
}  // namespace tune
