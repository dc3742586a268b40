// Rules 1 to 9, and the sentences about them in docs/rules.md.
#include "check_fixture.h"

namespace tune {
namespace {

using RuleChoice = RuleTest;

TEST_F(RuleChoice, Rule1_TwoBooleans_NamesAllOfThem) {
  const CheckResult result =
      check("flash_attention: true\nsdp_attention: true\neager_attention: yes\n");
  expect_one(result, 1, Severity::error, "sdp_attention", 2,
             {"flash_attention", "sdp_attention", "eager_attention", "keep one"});
  EXPECT_FALSE(result.ok());
}

TEST_F(RuleChoice, Rule1_OverrideBesideTheFilesModule_SaysHowToTurnThatOff) {
  CheckOptions options{regard::describe_machine("cpu"), Purpose::train, {}};
  options.overrides = {{"flash_attention", "true"}};
  const std::string text = file("sdp_attention: true\n");
  expect_one(check_text(text, "run.yml", options), 1, Severity::error, "sdp_attention", 1,
             {"--sdp_attention false"});
  options.overrides.push_back({"sdp_attention", "false"});
  const CheckResult result = check_text(text, "run.yml", options);
  EXPECT_TRUE(result.ok()) << all_findings(result);
  EXPECT_EQ(result.config.attention, regard::Module::flash_attention_2);
}

TEST_F(RuleChoice, Rule1_EveryPairOfTheSix_IsAnError) {
  const std::vector<std::string> keys = {"sdp", "flash", "flex", "sage", "xformers", "eager"};
  for (size_t i = 0; i < keys.size(); ++i) {
    for (size_t j = i + 1; j < keys.size(); ++j) {
      const CheckResult result =
          check(keys[i] + "_attention: true\n" + keys[j] + "_attention: true\n");
      EXPECT_EQ(findings_of(result, 1).size(), 1u) << keys[i] << " " << keys[j];
    }
  }
}

TEST_F(RuleChoice, Rule1_OneTrueOneFalseOneNull_IsFine) {
  const CheckResult result =
      check("flash_attention: true\nsdp_attention: false\nsage_attention:\n");
  expect_none(result, 1);
  EXPECT_TRUE(result.ok()) << all_findings(result);
  EXPECT_EQ(result.config.attention, regard::Module::flash_attention_2);
}

TEST_F(RuleChoice, Rule1_S2BesideFlash_IsFine) {
  expect_none(check("flash_attention: true\ns2_attention: true\n"), 1);
}

TEST_F(RuleChoice, Rule2_BooleanAndName_IsAnErrorEvenWhenTheyAgree) {
  expect_one(check("sdp_attention: true\nattn_implementation: eager\n"), 2, Severity::error,
             "attn_implementation", 2, {"sdp_attention", "pick one"});
  expect_one(check("sdp_attention: true\nattn_implementation: sdpa\n"), 2, Severity::error,
             "attn_implementation", 2);
}

TEST_F(RuleChoice, Rule2_S2BooleanAndS2Name_IsRule2AndNotRule5) {
  const CheckResult result = check("s2_attention: true\nattn_implementation: s2\n");
  expect_one(result, 2, Severity::error, "attn_implementation", 2, {"s2_attention"});
  expect_none(result, 5);
}

TEST_F(RuleChoice, Rule2_FalseBooleanOrNullName_IsFine) {
  expect_none(check("sdp_attention: false\nattn_implementation: eager\n"), 2);
  expect_none(check("sdp_attention: true\nattn_implementation: null\n"), 2);
}

TEST_F(RuleChoice, Rule3_ShortName_GivesTheCanonicalOne) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"flash", "flash_attention_2"},
      {"fa2", "flash_attention_2"},
      {"fa3", "flash_attention_3"},
      {"flex", "flex_attention"},
      {"sdp", "sdpa"},
      {"flash-attention-2", "flash_attention_2"},
      {"SDPA", "sdpa"},
      {"sage_attention", "sage"},
      {"xformers_attention", "xformers"},
      {"s2_attention", "s2"}};
  for (const auto& entry : cases) {
    expect_one(check("attn_implementation: " + entry.first + "\n"), 3, Severity::error,
               "attn_implementation", 1, {"write attn_implementation: " + entry.second});
  }
}

TEST_F(RuleChoice, Rule3_UnknownHubKernelAndFp8_GiveTheWholeList) {
  for (const std::string value : {"lightning", "kernels-community/flash-attn3", "fp8", "\"\""}) {
    expect_one(check("attn_implementation: " + value + "\n"), 3, Severity::error,
               "attn_implementation", 1,
               {"sdpa", "flash_attention_2", "flash_attention_3", "flex_attention", "sage",
                "xformers", "s2", "eager"});
  }
}

TEST_F(RuleChoice, Rule3_ValueThatIsNotText_IsRule3AndNot28) {
  for (const std::string value : {"2", "true", "1.5", "[sdpa]", "{a: sdpa}"}) {
    const CheckResult result = check("attn_implementation: " + value + "\n");
    expect_one(result, 3, Severity::error, "attn_implementation", 1, {"must be a name"});
    expect_none(result, 28);
    expect_none(result, 4);
  }
}

TEST_F(RuleChoice, Rule3_EveryCanonicalName_IsAcceptedAndResolves) {
  for (const regard::ModuleInfo& info : regard::modules()) {
    const CheckResult result = check("attn_implementation: " + std::string(info.name) + "\n");
    expect_none(result, 3);
    EXPECT_EQ(result.config.attention, info.module) << info.name;
  }
}

TEST_F(RuleChoice, Rule4_NothingChosen_NotesSdpa) {
  const CheckResult result = check("sdp_attention: false\nattn_implementation:\n");
  ASSERT_EQ(findings_of(result, 4).size(), 1u);
  EXPECT_EQ(findings_of(result, 4)[0].severity, Severity::note);
  EXPECT_EQ(result.config.attention, regard::Module::sdpa);
  EXPECT_TRUE(result.ok()) << all_findings(result);
}

TEST_F(RuleChoice, Rule4_SomethingChosen_IsSilent) {
  expect_none(check("eager_attention: true\n"), 4);
  expect_none(check("attn_implementation: sdpa\n"), 4);
}

TEST_F(RuleChoice, Rule5_S2WithoutFlash_SaysWriteBoth) {
  const CheckResult result = check("s2_attention: true\n");
  expect_one(result, 5, Severity::error, "s2_attention", 1,
             {"flash_attention: true", "s2_attention: true"});
  expect_none(result, 4);
  expect_one(check("s2_attention: true\nsdp_attention: true\n"), 5, Severity::error, "s2_attention",
             1);
}

TEST_F(RuleChoice, Rule5_S2WithFlash_OrByName_IsFine) {
  expect_none(check("flash_attention: true\ns2_attention: true\n"), 5);
  expect_none(check("attn_implementation: s2\n"), 5);
}

TEST_F(RuleChoice, Rule6_S2AndPacking_IsAnError) {
  const std::string s2 = "flash_attention: true\ns2_attention: true\n";
  expect_one(check(s2 + "sample_packing: true\n"), 6, Severity::error, "sample_packing", 3);
  expect_one(check(s2 + "eval_sample_packing: true\n"), 6, Severity::error, "eval_sample_packing",
             3);
  expect_one(check("attn_implementation: s2\nsample_packing: true\n"), 6, Severity::error,
             "sample_packing", 2);
  expect_none(check(s2 + "sample_packing: false\n"), 6);
  expect_none(check("flash_attention: true\nsample_packing: true\n"), 6);
}

TEST_F(RuleChoice, Rule7_S2OnAnotherArchitecture_IsAnError) {
  write_model({.model_type = "mistral"});
  expect_one(check("flash_attention: true\ns2_attention: true\n"), 7, Severity::error,
             "s2_attention", 2, {"LLaMA", "mistral"});
  expect_one(check("attn_implementation: s2\n"), 7, Severity::error, "attn_implementation", 1);
  expect_none(check("flash_attention: true\n"), 7);
  write_model({});
  expect_none(check("flash_attention: true\ns2_attention: true\n"), 7);
}

TEST_F(RuleChoice, Rule8_S2_WarnsOfDeprecation) {
  expect_one(check("flash_attention: true\ns2_attention: true\n"), 8, Severity::warning,
             "s2_attention", 2, {"deprecated"});
  expect_one(check("attn_implementation: s2\n"), 8, Severity::warning, "attn_implementation", 1);
  expect_none(check("flash_attention: true\n"), 8);
}

TEST_F(RuleChoice, Rule9_SequenceLenNotAMultipleOf4_IsAnError) {
  const std::string s2 = "flash_attention: true\ns2_attention: true\n";
  expect_one(check(s2 + "sequence_len: 1022\n"), 9, Severity::error, "sequence_len", 3,
             {"1022", "1024"});
  expect_none(check(s2 + "sequence_len: 1024\n"), 9);
  expect_none(check("flash_attention: true\nsequence_len: 1022\n"), 9);
}

TEST_F(RuleChoice, Rule9_OddNumberOfHeads_IsAnError) {
  write_model({.heads = 3});
  expect_one(check("attn_implementation: s2\n"), 9, Severity::error, "attn_implementation", 1,
             {"3 query heads", "even"});
}

TEST_F(RuleChoice, AllRules_OfOneFile_AreReportedInOneRunInOrderOfLine) {
  const CheckResult result = check(
      "flash_attention: true\nxformers_attention: true\nsequence_len: abc\nlaerning_rate: 1\n",
      "turing");
  for (const int rule : {1, 10, 27, 28}) {
    EXPECT_EQ(findings_of(result, rule).size(), 1u) << rule << "\n" << all_findings(result);
  }
  int last = 0;
  for (const Finding& finding : result.findings) {
    if (!finding.line) continue;
    EXPECT_GE(*finding.line, last);
    last = *finding.line;
  }
}

TEST_F(RuleChoice, RequireBuilt_EveryModule_IsServed) {
  for (const regard::ModuleInfo& info : regard::modules()) {
    const CheckResult result = check("attn_implementation: " + std::string(info.name) + "\n");
    EXPECT_NO_THROW(require_built(result.config)) << info.name;
  }
}

TEST_F(RuleChoice, RequireBuilt_KeysThatOnlyParse_AreRefusedWithTheRemedy) {
  const auto refusal = [&](const std::string& text) -> std::string {
    try {
      require_built(check(text).config);
    } catch (const std::exception& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(refusal("load_in_8bit: true\n").find("load_in_4bit: true"), std::string::npos);
  EXPECT_NE(refusal("fp16: true\n").find("bf16: true"), std::string::npos);
}

}  // namespace
}  // namespace tune
