// Rules 20, 23, 24, 29 and 31 to 33, and which rules each command asks.
#include "check_fixture.h"

namespace tune {
namespace {

using RuleTraining = RuleTest;

TEST_F(RuleTraining, Rule20_Packing_SetsOneEntryAKeyOnEveryModule) {
  for (const std::string name : {"sdpa", "eager", "flash_attention_2", "xformers"}) {
    const CheckResult result =
        check("sample_packing: true\nval_set_size: 0.1\nattn_implementation: " + name + "\n");
    const std::vector<Finding> found = findings_of(result, 20);
    ASSERT_EQ(found.size(), 2u) << all_findings(result);
    EXPECT_EQ(found[0].key.value_or(""), "pad_to_sequence_len");
    EXPECT_EQ(found[1].key.value_or(""), "eval_sample_packing");
    for (const Finding& finding : found) {
      EXPECT_EQ(finding.severity, Severity::set);
      EXPECT_FALSE(finding.line.has_value());
      EXPECT_NE(finding.message.find("never see each other"), std::string::npos);
    }
    EXPECT_EQ(result.config.pad_to_sequence_len, true);
    EXPECT_TRUE(result.config.eval_sample_packing);
  }
}

TEST_F(RuleTraining, Rule20_WithoutEvaluationSet_SetsOnlyPadding) {
  expect_one(check("sample_packing: true\n"), 20, Severity::set, "pad_to_sequence_len", 0);
  EXPECT_FALSE(check("sample_packing: true\n").config.eval_sample_packing);
}

TEST_F(RuleTraining, Rule20_KeysThatAreGiven_StayAsTheyAre) {
  const CheckResult result = check(
      "sample_packing: true\nval_set_size: 10\npad_to_sequence_len: false\n"
      "eval_sample_packing: false\n");
  expect_none(result, 20);
  EXPECT_EQ(result.config.pad_to_sequence_len, false);
  EXPECT_FALSE(result.config.eval_sample_packing);
  expect_one(check("sample_packing: true\npad_to_sequence_len:\n"), 20, Severity::set,
             "pad_to_sequence_len", 2);
  expect_none(check("sample_packing: false\n"), 20);
}

TEST_F(RuleTraining, Rule23_QuantisedWeightsWithoutAdapter_IsAnError) {
  expect_one(check("load_in_4bit: true\n"), 23, Severity::error, "load_in_4bit", 1,
             {"adapter: qlora"});
  expect_one(check("load_in_8bit: true\n"), 23, Severity::error, "load_in_8bit", 1,
             {"adapter: lora"});
  expect_none(check("load_in_4bit: true\nadapter: qlora\n"), 23);
  expect_none(check("load_in_8bit: true\nadapter: lora\n"), 23);
  expect_none(check("load_in_4bit: false\n"), 23);
}

TEST_F(RuleTraining, Rule23_QloraWithout4Bit_IsAnError) {
  expect_one(check("adapter: qlora\n"), 23, Severity::error, "adapter", 1, {"load_in_4bit: true"});
}

TEST_F(RuleTraining, Rule23_BothAtOnce_IsAnError) {
  expect_one(check("adapter: qlora\nload_in_4bit: true\nload_in_8bit: true\n"), 23, Severity::error,
             "load_in_8bit", 3, {"keep one"});
}

// A file whose batch keys are only those of `lines`.
CheckResult check_batch(const std::string& model, const std::string& lines) {
  return check_text(lines + "base_model: " + model +
                        "\ndatasets: [{path: a.jsonl, type: alpaca}]\nlearning_rate: 1e-4\n",
                    "run.yml", {regard::describe_machine("cpu"), Purpose::train, {}});
}

TEST_F(RuleTraining, Rule24_FewerThanTwoBatchKeys_IsAnError) {
  expect_one(check_batch(model(), ""), 24, Severity::error, "micro_batch_size", 0,
             {"gradient_accumulation_steps", "batch_size"});
  expect_one(check_batch(model(), "micro_batch_size: 4\n"), 24, Severity::error, "micro_batch_size",
             1);
  expect_one(check_batch(model(), "micro_batch_size: 4\nbatch_size:\n"), 24, Severity::error,
             "micro_batch_size", 1);
}

TEST_F(RuleTraining, Rule24_TwoBatchKeys_GiveTheThird) {
  Config config = check_batch(model(), "micro_batch_size: 2\nbatch_size: 8\n").config;
  EXPECT_EQ(config.gradient_accumulation_steps, 4);
  config = check_batch(model(), "gradient_accumulation_steps: 2\nbatch_size: 6\n").config;
  EXPECT_EQ(config.micro_batch_size, 3);
  config = check_batch(model(), "micro_batch_size: 5\ngradient_accumulation_steps: 7\n").config;
  EXPECT_EQ(config.batch_size, 35);
}

TEST_F(RuleTraining, Rule24_ThreeBatchKeys_AreFineWhenTheyAgree) {
  const std::string two = "micro_batch_size: 2\ngradient_accumulation_steps: 4\n";
  expect_none(check_batch(model(), two + "batch_size: 8\n"), 24);
  expect_one(check_batch(model(), two + "batch_size: 9\n"), 24, Severity::error, "batch_size", 3,
             {"9", "2 * 4"});
  expect_one(check_batch(model(), "micro_batch_size: 4\nbatch_size: 6\n"), 24, Severity::error,
             "batch_size", 2, {"multiple"});
}

TEST_F(RuleTraining, Rule24_BothOfAPair_IsAnErrorAtTheLaterKey) {
  expect_one(check("warmup_steps: 10\nwarmup_ratio: 0.1\n"), 24, Severity::error, "warmup_ratio", 2,
             {"warmup_steps"});
  expect_one(check("saves_per_epoch: 1\nsave_steps: 10\n"), 24, Severity::error, "save_steps", 2);
  expect_one(check("eval_steps: 10\nevals_per_epoch: 2\n"), 24, Severity::error, "evals_per_epoch",
             2);
  expect_one(check("val_set_size: 0.1\ntest_datasets: [{path: t.jsonl, type: alpaca}]\n"), 24,
             Severity::error, "test_datasets", 2, {"val_set_size"});
}

TEST_F(RuleTraining, Rule24_OneOfAPair_OrNull_IsFine) {
  expect_none(check("warmup_steps: 10\nwarmup_ratio:\nsave_steps: 3\neval_steps: 4\n"), 24);
  expect_none(check("val_set_size: 0\ntest_datasets: [{path: t.jsonl, type: alpaca}]\n"), 24);
}

TEST_F(RuleTraining, Rule29_SequenceBeyondTheModel_Warns) {
  write_model({.max_positions = 2048});
  expect_one(check("sequence_len: 4096\n"), 29, Severity::warning, "sequence_len", 1,
             {"4096", "2048"});
  expect_none(check("sequence_len: 2048\n"), 29);
}

TEST_F(RuleTraining, Rule31_RequiredKeys_AbsentOrNull) {
  const CheckOptions train{regard::describe_machine("cpu"), Purpose::train, {}};
  const CheckResult absent = check_text("seed: 1\n", "run.yml", train);
  std::vector<std::string> keys;
  for (const Finding& finding : findings_of(absent, 31)) {
    keys.push_back(finding.key.value_or(""));
    EXPECT_FALSE(finding.line.has_value());
    EXPECT_EQ(finding.severity, Severity::error);
  }
  EXPECT_EQ(keys, (std::vector<std::string>{"base_model", "datasets", "learning_rate"}));
  const CheckResult null =
      check_text("base_model:\ndatasets: null\nlearning_rate: ~\n", "run.yml", train);
  EXPECT_EQ(findings_of(null, 31).size(), 3u) << all_findings(null);
  EXPECT_EQ(findings_of(null, 31)[1].line.value_or(0), 2);
  expect_none(check(""), 31);
}

TEST_F(RuleTraining, Rule31_OtherCommands_AskForLess) {
  const auto keys = [](Purpose purpose) {
    std::string text;
    const CheckOptions options{regard::describe_machine("cpu"), purpose, {}};
    for (const Finding& finding : findings_of(check_text("seed: 1\n", "r.yml", options), 31)) {
      text += finding.key.value_or("") + " ";
    }
    return text;
  };
  EXPECT_EQ(keys(Purpose::infer), "base_model ");
  EXPECT_EQ(keys(Purpose::merge), "base_model ");
  EXPECT_EQ(keys(Purpose::preprocess), "base_model datasets ");
  EXPECT_EQ(keys(Purpose::evaluate), "base_model datasets ");
}

TEST_F(RuleTraining, Rule32_ModelThatIsNotHere_SaysHowToGetIt) {
  const CheckResult result = check_text(
      "base_model: nobody/no-such-model-here\ndatasets: [{path: a, type: alpaca}]\n"
      "learning_rate: 1e-4\nmicro_batch_size: 1\nbatch_size: 1\n",
      "run.yml", {regard::describe_machine("cpu"), Purpose::train, {}});
  expect_one(result, 32, Severity::error, "base_model", 1, {"download nobody/no-such-model-here"});
}

TEST_F(RuleTraining, Rule32_OtherArchitecture_GivesTheList) {
  write_file("model/config.json", "{\"model_type\": \"gpt2\", \"hidden_size\": 64}");
  const CheckResult result = check("");
  ASSERT_EQ(findings_of(result, 32).size(), 1u) << all_findings(result);
  const std::string message = findings_of(result, 32)[0].message;
  for (const std::string name : {"llama", "mistral", "qwen2", "qwen3"}) {
    EXPECT_NE(message.find(name), std::string::npos) << message;
  }
}

TEST_F(RuleTraining, Rule32_BrokenOrNonsenseConfig_IsAnError) {
  for (const std::string text : {"{", "", "[]", "{\"model_type\": \"llama\"}"}) {
    write_file("model/config.json", text);
    EXPECT_EQ(findings_of(check("sequence_len: 1000000\n"), 32).size(), 1u) << text;
  }
  write_model({.heads = -4});
  EXPECT_EQ(findings_of(check(""), 32).size(), 1u);
  write_model({});
  expect_none(check(""), 32);
}

TEST_F(RuleTraining, Purpose_Merge_HearsOfNoAttentionAndNoPacking) {
  const CheckResult result = check(
      "flash_attention: true\nsdp_attention: true\nsample_packing: true\nwandb_project: x\n"
      "bf16: true\nwarmup_steps: 1\nwarmup_ratio: 0.1\n",
      "turing", Purpose::merge);
  EXPECT_TRUE(result.findings.empty()) << all_findings(result);
}

TEST_F(RuleTraining, Purpose_Merge_StillRefusesUnknownKeysAndBadValues) {
  const CheckResult result = check("lora_rr: 3\nlora_r: many\nrl: dpo\n", "cpu", Purpose::merge);
  for (const int rule : {26, 27, 28}) {
    EXPECT_EQ(findings_of(result, rule).size(), 1u) << all_findings(result);
  }
}

TEST_F(RuleTraining, Purpose_Preprocess_NeedsNoHardware) {
  const CheckResult result =
      check("flash_attention: true\nbf16: true\n", "turing", Purpose::preprocess);
  EXPECT_TRUE(result.ok()) << all_findings(result);
  expect_none(check("sage_attention: true\n", "mi300", Purpose::preprocess), 14);
}

TEST_F(RuleTraining, Purpose_Infer_ChecksHardwareAndNoTrainingKeys) {
  const CheckResult result =
      check("sage_attention: true\nwarmup_steps: 1\nwarmup_ratio: 0.1\n", "turing", Purpose::infer);
  EXPECT_EQ(findings_of(result, 14).size(), 1u);
  expect_none(result, 15);
  expect_none(result, 24);
}

TEST_F(RuleTraining, Rule33_DataThatIsNotThere_IsAnErrorAtItsLine) {
  write_file("rows/a.jsonl", "{}\n");
  const std::string folder = folder_.string();
  const CheckResult result = check(
      "test_datasets:\n  - {path: rows}\n  - path: rows/gone.jsonl\n"
      "  - {path: rows, data_files: [a.jsonl, b.jsonl]}\n"
      "  - {path: json, data_files: [rows/a.jsonl, data.jsonl]}\n  - path: " +
      folder + "/none\n");
  const std::vector<Finding> found = findings_of(result, 33);
  ASSERT_EQ(found.size(), 3u) << all_findings(result);
  const std::vector<std::pair<std::string, int>> expected = {{"test_datasets[1].path", 3},
                                                             {"test_datasets[2].data_files", 4},
                                                             {"test_datasets[4].path", 6}};
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].severity, Severity::error);
    EXPECT_EQ(found[i].key.value_or(""), expected[i].first);
    EXPECT_EQ(found[i].line.value_or(0), expected[i].second);
  }
  EXPECT_NE(found[0].message.find("rows/gone.jsonl"), std::string::npos) << found[0].message;
  EXPECT_NE(found[1].message.find("b.jsonl"), std::string::npos) << found[1].message;
}

TEST_F(RuleTraining, Rule33_TensorFileThatIsNotThere_IsAnErrorAtItsLine) {
  write_file("here.safetensors", "");
  const std::string here = (folder_ / "here.safetensors").string();
  const std::string tensors = "flex_tensors:\n  a: alibi\n  b: " + here +
                              "#b\n  c: gone.safetensors#c\n"
                              "  d: {from: lost.safetensors#d, trainable: true}\n";
  const std::vector<Finding> found = findings_of(check("flex_attention: true\n" + tensors), 33);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].key.value_or(""), "flex_tensors.c");
  EXPECT_EQ(found[0].line.value_or(0), 5);
  EXPECT_NE(found[0].message.find("gone.safetensors"), std::string::npos) << found[0].message;
  EXPECT_EQ(found[1].line.value_or(0), 6);
  // What was trained lies in output_dir; other modules and commands read no tensors.
  const CheckResult evaluated = check("flex_attention: true\n" + tensors, "cpu", Purpose::evaluate);
  EXPECT_EQ(findings_of(evaluated, 33).size(), 1u);
  expect_none(check("flex_attention: true\n" + tensors, "cpu", Purpose::preprocess), 33);
  expect_none(check("sdp_attention: true\n" + tensors), 33);
}

TEST_F(RuleTraining, Rule33_Commands_ThatReadNoData_DoNotAsk) {
  std::filesystem::remove(folder_ / "data.jsonl");
  for (const Purpose purpose : {Purpose::train, Purpose::preprocess, Purpose::evaluate})
    EXPECT_EQ(findings_of(check("", "cpu", purpose), 33).size(), 1u);
  for (const Purpose purpose : {Purpose::infer, Purpose::merge})
    expect_none(check("", "cpu", purpose), 33);
}

}  // namespace
}  // namespace tune
