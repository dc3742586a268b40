// Rules 25 to 28: keys and values.
#include <set>

#include "check_fixture.h"
#include "tune/config/axolotl_keys.h"
#include "tune/config/schema.h"

namespace tune {
namespace {

using RuleKeys = RuleTest;

TEST_F(RuleKeys, Rule25_ReportingKey_IsNotedAndIgnored) {
  const CheckResult result =
      check("wandb_project: demo\nmlflow_run_name: a\nhub_model_id: me/m\ncomet_mode: online\n");
  const std::vector<Finding> found = findings_of(result, 25);
  ASSERT_EQ(found.size(), 4u) << all_findings(result);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(found[static_cast<size_t>(i)].severity, Severity::note);
    EXPECT_EQ(found[static_cast<size_t>(i)].line.value_or(0), i + 1);
  }
  EXPECT_TRUE(result.ok()) << all_findings(result);
}

TEST_F(RuleKeys, Rule25_Null_IsNotGiven) {
  expect_none(check("wandb_project:\nwandb_entity: null\n"), 25);
}

TEST_F(RuleKeys, Rule25_ListIsExact_MisspeltKeysAreRule27) {
  const CheckResult result = check("wandb_projct: demo\n");
  expect_none(result, 25);
  expect_one(result, 27, Severity::error, "wandb_projct", 1, {"wandb_project"});
  expect_one(check("wandb_anything: 1\n"), 27, Severity::error, "wandb_anything", 1);
}

TEST_F(RuleKeys, Rule26_UnsupportedKey_SaysWhatToUseInstead) {
  expect_one(check("deepspeed: ds.json\n"), 26, Severity::error, "deepspeed", 1,
             {"known to Axolotl", "not supported", "one device"});
  expect_one(check("rl: dpo\n"), 26, Severity::error, "rl", 1, {"supervised"});
  expect_one(check("fsdp_config:\n  offload_params: true\n"), 26, Severity::error, "fsdp_config",
             1);
  expect_one(check("bfloat16: true\n"), 26, Severity::error, "bfloat16", 1, {"bf16: true"});
}

TEST_F(RuleKeys, Rule26_NullAndFalse_AreNotGiven) {
  expect_none(check("deepspeed:\nfsdp: null\nreward_model: false\nfp8: no\n"), 26);
  EXPECT_EQ(findings_of(check("fp8: \"false\"\n"), 26).size(), 1u);
}

TEST_F(RuleKeys, Rule25And26_Lists_HaveNoKeyOfOursAndNoneTwice) {
  std::set<std::string> names;
  for (const std::string& key : config_key_names()) names.insert(key);
  for (const std::string& key : axolotl_key_names()) {
    EXPECT_TRUE(names.insert(key).second) << key;
    const AxolotlKey* entry = find_axolotl_key(key);
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->instead.empty(), entry->kind == AxolotlKeyKind::no_effect) << key;
  }
  EXPECT_GT(axolotl_key_names().size(), 250u);
}

TEST_F(RuleKeys, Rule27_UnknownKey_NamesTheNearest) {
  expect_one(check("seed: 1\nlearnin_rate: 1e-4\n"), 27, Severity::error, "learnin_rate", 2,
             {"learning_rate"});
  expect_one(check("flash_atention: true\n"), 27, Severity::error, "flash_atention", 1,
             {"flash_attention"});
  expect_none(check("seed: 1\n"), 27);
}

TEST_F(RuleKeys, Rule27_AnotherWord_GetsNoSuggestion) {
  for (const std::string key : {"attention", "bananas", "q"}) {
    const CheckResult result = check(key + ": flash\n");
    expect_one(result, 27, Severity::error, key, 1, {"docs/keys.md"});
    EXPECT_EQ(findings_of(result, 27)[0].message.find("nearest"), std::string::npos);
  }
}

TEST_F(RuleKeys, Rule27_Option_NamesTheNearestKeyOrOptionOfTheCommand) {
  const auto message = [&](const std::string& key) {
    CheckOptions options{regard::describe_machine("cpu"), Purpose::infer, {{key, "1"}}};
    options.command_options = {"max-new-tokens", "temperature", "base"};
    const Finding finding = findings_of(check_text(file(""), "run.yml", options), 27).at(0);
    return format_finding(finding, "run.yml");
  };
  EXPECT_EQ(message("learning_rat"),
            "--learning_rat: error: unknown option: the nearest is --learning_rate [rule 27]");
  EXPECT_EQ(message("max_new_token"),
            "--max_new_token: error: unknown option: the nearest is --max-new-tokens [rule 27]");
  EXPECT_EQ(
      message("datasets[0].typ"),
      "--datasets[0].typ: error: unknown option: the nearest is --datasets[0].type [rule 27]");
  EXPECT_EQ(message("bananas").find("nearest"), std::string::npos) << message("bananas");
}

TEST_F(RuleKeys, Rule27_NestedKey_HasItsPath) {
  const std::string base =
      "base_model: " + model() + "\nlearning_rate: 1e-4\nmicro_batch_size: 1\nbatch_size: 1\n";
  const CheckOptions options{regard::describe_machine("cpu"), Purpose::train, {}};
  expect_one(check_text("datasets:\n  - path: a.jsonl\n    typ: alpaca\n" + base, "r.yml", options),
             27, Severity::error, "datasets[0].typ", 3, {"type"});
  expect_one(check("special_tokens:\n  pad_tokn: x\n"), 27, Severity::error,
             "special_tokens.pad_tokn", 2, {"pad_token"});
  expect_one(check("test_datasets:\n  - {path: a, type: alpaca}\n  - path: b\n    type: alpaca\n"
                   "    message_property_mappings: {rol: from}\n"),
             27, Severity::error, "test_datasets[1].message_property_mappings.rol", 5, {"role"});
  expect_one(check("flex_tensors:\n  s: {from: alibi, trainble: true}\n"), 27, Severity::error,
             "flex_tensors.s.trainble", 2, {"trainable"});
}

TEST_F(RuleKeys, Rule28_WrongType_HasLineAndColumn) {
  const CheckResult result = check("seed: 1\nsequence_len: many\n");
  expect_one(result, 28, Severity::error, "sequence_len", 2, {"many", "whole number"});
  EXPECT_EQ(findings_of(result, 28)[0].column.value_or(0), 15);
  for (const std::string line :
       {"seed: [1]", "datasets: a.jsonl", "special_tokens: [a]", "num_epochs: true",
        "output_dir: {a: b}", "lora_target_modules: {a: b}", "tokens: [[a]]", "output_dir: 5",
        "train_on_inputs: maybe", "lora_r: 1.5", "learning_rate: .nan", "learning_rate: 0x1p3",
        "sequence_len: 010", "datasets: [a]", "lora_alpha: 1_0"}) {
    const CheckResult wrong =
        check_text(line + "\n", "r.yml", {regard::describe_machine("cpu"), Purpose::infer, {}});
    ASSERT_EQ(findings_of(wrong, 28).size(), 1u) << line << "\n" << all_findings(wrong);
    EXPECT_EQ(findings_of(wrong, 28)[0].line.value_or(0), 1) << line;
    EXPECT_GT(findings_of(wrong, 28)[0].column.value_or(0), 1) << line;
  }
}

TEST_F(RuleKeys, Rule28_OutOfRangeOrNotAChoice_GivesWhatIsAllowed) {
  expect_one(check("sequence_len: 0\n"), 28, Severity::error, "sequence_len", 1, {">= 2"});
  expect_one(check("lora_dropout: 1.0\n"), 28, Severity::error, "lora_dropout", 1, {"< 1"});
  expect_one(check("warmup_ratio: -0.1\n"), 28, Severity::error, "warmup_ratio", 1);
  expect_one(check("lr_scheduler: rex\n"), 28, Severity::error, "lr_scheduler", 1,
             {"rex", "cosine | linear"});
  expect_one(check("optimizer: adamw_bnb_8bit\n"), 28, Severity::error, "optimizer", 1,
             {"adamw_torch"});
  expect_none(check("lora_dropout: 0.0\nlr_scheduler: linear\neval_strategy: no\n"), 28);
}

TEST_F(RuleKeys, Rule28_BooleanKey_TakesThePlainWordsOnly) {
  for (const std::string word : {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"}) {
    EXPECT_TRUE(check("group_by_length: " + word + "\n").config.group_by_length) << word;
  }
  for (const std::string word : {"false", "False", "no", "NO", "off", "Off"}) {
    const CheckResult result = check("shuffle_merged_datasets: " + word + "\n");
    expect_none(result, 28);
    EXPECT_FALSE(result.config.shuffle_before_training) << word;
  }
  for (const std::string word : {"\"true\"", "'no'", "1", "0", "tRUE", "y", "t"}) {
    expect_one(check("group_by_length: " + word + "\n"), 28, Severity::error, "group_by_length", 1,
               {"true or false"});
  }
  expect_one(check("bf16: \"true\"\n"), 28, Severity::error, "bf16", 1, {"auto"});
}

TEST_F(RuleKeys, Rule28_ResumeFromCheckpoint_TakesAPlainBooleanToo) {
  for (const std::string word : {"true", "yes", "\"true\""}) {
    const CheckResult result = check("resume_from_checkpoint: " + word + "\n");
    expect_none(result, 28);
    EXPECT_EQ(result.config.resume_from_checkpoint, "true") << word;
  }
  EXPECT_EQ(check("resume_from_checkpoint: false\n").config.resume_from_checkpoint, "");
  EXPECT_EQ(check("resume_from_checkpoint: out/checkpoint-5\n").config.resume_from_checkpoint,
            "out/checkpoint-5");
  expect_one(check("resume_from_checkpoint: 5\n"), 28, Severity::error, "resume_from_checkpoint", 1,
             {"quotes"});
}

TEST_F(RuleKeys, Rule28_Numbers_MayBeQuotedAndHaveExponents) {
  const CheckResult result = check(
      "weight_decay: \"2e-4\"\nadam_epsilon: 1e-5\nsequence_len: '2048'\nlora_r: 1e1\n"
      "lora_alpha: +.5\nmax_steps: 100.0\n");
  expect_none(result, 28);
  EXPECT_DOUBLE_EQ(result.config.weight_decay, 2e-4);
  EXPECT_DOUBLE_EQ(result.config.adam_epsilon, 1e-5);
  EXPECT_EQ(result.config.sequence_len, 2048);
  EXPECT_EQ(result.config.lora_r, 10);
  EXPECT_DOUBLE_EQ(result.config.lora_alpha, 0.5);
  EXPECT_EQ(result.config.max_steps, 100);
  expect_one(check("weight_decay: \"2e-4 \"\n"), 28, Severity::error, "weight_decay", 1);
  expect_one(check("weight_decay: \"2e-4x\"\n"), 28, Severity::error, "weight_decay", 1);
}

TEST_F(RuleKeys, Rule28_DuplicateKey_IsReportedAtItsSecondLine) {
  expect_one(check("seed: 1\nlora_r: 8\nseed: 2\n"), 28, Severity::error, "seed", 3,
             {"twice", "line 1"});
  expect_one(check("special_tokens:\n  pad_token: a\n  pad_token: b\n"), 28, Severity::error,
             "special_tokens.pad_token", 3);
}

TEST_F(RuleKeys, Rule28_BadValue_DoesNotAlsoCountAsMissing) {
  const CheckResult result = check_text(
      "base_model: [a]\nlearning_rate: fast\ndatasets: 3\nmicro_batch_size: x\nbatch_size: y\n",
      "r.yml", {regard::describe_machine("cpu"), Purpose::train, {}});
  EXPECT_EQ(findings_of(result, 28).size(), 5u) << all_findings(result);
  for (const int rule : {24, 31, 32}) expect_none(result, rule);
}

TEST_F(RuleKeys, Rule28_DatasetWithoutPath_IsAnError) {
  expect_one(check("test_datasets:\n  - type: alpaca\n"), 28, Severity::error,
             "test_datasets[0].path", 2, {"path is missing"});
}

TEST_F(RuleKeys, Dataset_EmptyType_MeansPretokenizedRows) {
  const CheckResult result = check("test_datasets:\n  - {path: a, type: }\n  - path: b\n");
  expect_none(result, 28);
  ASSERT_EQ(result.config.test_datasets.size(), 2u);
  EXPECT_EQ(result.config.test_datasets[0].type, "");
  EXPECT_EQ(result.config.test_datasets[1].type, "");
  EXPECT_EQ(result.config.test_datasets[1].line, 3);
}

}  // namespace
}  // namespace tune
