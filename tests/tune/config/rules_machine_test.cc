// Rules 10 to 19, 21, 22 and 30, on described machines.
#include "check_fixture.h"

namespace tune {
namespace {

using RuleMachine = RuleTest;

TEST_F(RuleMachine, Rule10_FlashBelowAmpere_NamesTheAlternatives) {
  for (const std::string machine : {"pascal", "turing"}) {
    const CheckResult result = check("flash_attention: true\n", machine);
    expect_one(result, 10, Severity::error, "flash_attention", 1,
               {"xformers_attention", "sdp_attention"});
    expect_one(check("attn_implementation: flash_attention_2\n", machine), 10, Severity::error,
               "attn_implementation", 1);
    expect_one(check("attn_implementation: s2\n", machine), 10, Severity::error,
               "attn_implementation", 1);
  }
}

TEST_F(RuleMachine, Rule10_FlashOnAmpereOrNewerOrCpu_IsFine) {
  for (const std::string machine : {"cpu", "ampere", "ada", "hopper", "blackwell", "mi300"}) {
    expect_none(check("flash_attention: true\n", machine), 10);
  }
  expect_none(check("xformers_attention: true\n", "turing"), 10);
}

TEST_F(RuleMachine, Rule11_Flash3OffHopper_SaysWriteFlashAttention) {
  for (const std::string machine : {"cpu", "turing", "ampere", "ada", "blackwell", "mi300"}) {
    const CheckResult result = check("attn_implementation: flash_attention_3\n", machine);
    expect_one(result, 11, Severity::error, "attn_implementation", 1,
               {"Hopper", "flash_attention: true"});
    expect_none(result, 10);  // rule 11 replaces it
  }
}

TEST_F(RuleMachine, Rule11_Flash3OnHopper_DependsOnCuda) {
  const std::string line = "attn_implementation: flash_attention_3\n";
  expect_one(check(line, machine_with("hopper", {12, 2})), 11, Severity::error,
             "attn_implementation", 1, {"12.3", "12.2"});
  expect_one(check(line, machine_with("hopper", {12, 3})), 11, Severity::warning,
             "attn_implementation", 1, {"12.8"});
  expect_none(check(line, machine_with("hopper", {12, 8})), 11);
  expect_none(check(line, machine_with("hopper", {12, 10})), 11);  // above 12.8: part by part
  expect_none(check(line, "hopper"), 11);                          // described: CUDA 13.0
}

TEST_F(RuleMachine, Rule12_FlashOnOldRocm_IsAnError) {
  expect_one(check("flash_attention: true\n", machine_with("mi300", {5, 7})), 12, Severity::error,
             "flash_attention", 1, {"6.0", "5.7"});
  expect_none(check("flash_attention: true\n", machine_with("mi300", {6, 0})), 12);
  expect_none(check("flash_attention: true\n", "mi300"), 12);  // described: ROCm 6.2
  expect_none(check("sdp_attention: true\n", machine_with("mi300", {5, 7})), 12);
}

TEST_F(RuleMachine, Rule13_FlashOnHopperWithoutVersion_NotesTheSchedule) {
  expect_one(check("flash_attention: true\n", "hopper"), 13, Severity::note, "flash_attention", 1,
             {"Hopper schedule (FlashAttention-3)"});
  expect_one(check("flash_attention: true\n", machine_with("hopper", {12, 2})), 13, Severity::note,
             "flash_attention", 1, {"Ampere schedule", "12.3", "12.2"});
  const CheckResult s2 = check("flash_attention: true\ns2_attention: true\n", "hopper");
  expect_one(s2, 13, Severity::note, "flash_attention", 1, {"Hopper schedule"});
  EXPECT_EQ(findings_of(s2, 13)[0].message.find("write"), std::string::npos);  // no s2 by that name
  expect_none(check("attn_implementation: flash_attention_2\n", "hopper"), 13);
  expect_none(check("attn_implementation: flash_attention_3\n", "hopper"), 13);
  expect_none(check("flash_attention: true\n", "ampere"), 13);
  expect_none(check("flash_attention: true\n", "cpu"), 13);
}

TEST_F(RuleMachine, Rule14_SageBelowAmpereOrOnAmd_IsAnError) {
  for (const std::string machine : {"pascal", "turing", "mi300"}) {
    expect_one(check("sage_attention: true\n", machine), 14, Severity::error, "sage_attention", 1,
               {"Ampere", "CPU engine"});
    expect_one(check("attn_implementation: sage\n", machine), 14, Severity::error,
               "attn_implementation", 1);
  }
  for (const std::string machine : {"cpu", "ampere", "ada", "hopper", "blackwell"}) {
    expect_none(check("sage_attention: true\n", machine), 14);
  }
}

TEST_F(RuleMachine, Rule15_SageWithoutAdapter_Warns) {
  expect_one(check("sage_attention: true\n"), 15, Severity::warning, "sage_attention", 1,
             {"LoRA", "198"});
  expect_none(check("sage_attention: true\nadapter: lora\n"), 15);
  expect_none(check("sage_attention: true\nadapter: qlora\nload_in_4bit: true\n"), 15);
  expect_none(check("flash_attention: true\n"), 15);
}

TEST_F(RuleMachine, Rule16_FlexWithoutCompile_NotesIt) {
  expect_one(check("flex_attention: true\n"), 16, Severity::note, "flex_attention", 1,
             {"torch_compile: true", "unfused"});
  expect_one(check("flex_attention: true\ntorch_compile: false\n"), 16, Severity::note,
             "flex_attention", 1);
  expect_none(check("flex_attention: true\ntorch_compile: true\n"), 16);
  expect_none(check("flex_attention: true\ntorch_compile: auto\n"), 16);
  expect_none(check("sdp_attention: true\n"), 16);
}

TEST_F(RuleMachine, Rule17_BrokenProgram_GivesPositionAndExpectation) {
  expect_one(check("flex_attention: true\nflex_score_mod: \"score + * 2\"\n"), 17, Severity::error,
             "flex_score_mod", 2, {"character 9", "expected"});
  expect_one(check("attn_implementation: flex_attention\nflex_mask_mod: \"q >= kv &&\"\n"), 17,
             Severity::error, "flex_mask_mod", 2, {"end of the program"});
}

TEST_F(RuleMachine, Rule17_UnknownTensor_IsNamed) {
  const std::string flex = "flex_attention: true\n";
  expect_one(check(flex + "flex_score_mod: \"score + slope[h] * (kv - q)\"\nflex_tensors:\n"
                          "  slopes: alibi\n"),
             17, Severity::error, "flex_score_mod", 2, {"slope", "slopes[...]"});
  expect_none(check(flex + "flex_score_mod: \"score + slopes[h] * (kv - q)\"\nflex_tensors:\n"
                           "  slopes: alibi\n"),
              17);
  expect_none(check("sdp_attention: true\nflex_score_mod: \"score +\"\n"), 17);
}

TEST_F(RuleMachine, Rule18_XformersOnAmpereOrNewer_NotesFlash) {
  for (const std::string machine : {"ampere", "ada", "hopper", "blackwell"}) {
    expect_one(check("xformers_attention: true\n", machine), 18, Severity::note,
               "xformers_attention", 1, {"flash_attention: true"});
  }
  for (const std::string machine : {"cpu", "turing", "pascal", "mi300"}) {
    expect_none(check("xformers_attention: true\n", machine), 18);
  }
}

TEST_F(RuleMachine, Rule19_FlashOrSageInFp32OnAGpu_SetsTheCast) {
  expect_one(check("flash_attention: true\nbf16: false\n", "ampere"), 19, Severity::set,
             "flash_attention", 1, {"cast to bf16"});
  expect_one(check("attn_implementation: sage\nbf16: false\nfp16: false\n", "hopper"), 19,
             Severity::set, "attn_implementation", 1);
  expect_none(check("flash_attention: true\n", "ampere"), 19);  // bf16: auto becomes true
  expect_none(check("flash_attention: true\nfp16: true\n", "ampere"), 19);
  expect_none(check("flash_attention: true\nbf16: false\n", "cpu"), 19);
  expect_none(check("sdp_attention: true\nbf16: false\n", "ampere"), 19);
  // Where the kernel does not run (rules 10, 12, 14), nothing is cast.
  expect_none(check("flash_attention: true\n", "turing"), 19);
  expect_none(check("flash_attention: true\nbf16: false\n", machine_with("mi300", {5, 7})), 19);
  expect_none(check("sage_attention: true\nbf16: false\n", "mi300"), 19);
}

TEST_F(RuleMachine, Rule17_WrongTypesAndSureDivisionsByZero_AreFound) {
  const std::string tensors = "flex_tensors:\n  slopes: alibi\n  table: t.safetensors#t\n";
  const std::string flex = "flex_attention: true\n" + tensors;
  expect_one(check(flex + "flex_score_mod: \"score + slopes[score]\"\n"), 17, Severity::error,
             "flex_score_mod", 5, {"character 9", "floor"});
  expect_one(check(flex + "flex_score_mod: \"score + slopes[h, q]\"\n"), 17, Severity::error,
             "flex_score_mod", 5, {"character 9", "1 axes"});
  expect_one(check(flex + "flex_mask_mod: \"q % 0 == kv\"\n"), 17, Severity::error, "flex_mask_mod",
             5, {"character 3", "division by zero"});
  // What a file holds is not known yet: real, integer, of any rank.
  expect_none(check(flex + "flex_score_mod: \"score + slopes[table[h, q]] * table[h, kv]\"\n"), 17);
}

TEST_F(RuleMachine, Rule21_MaskThatSeesLaterKeys_IsNoted) {
  const std::string flex = "flex_attention: true\nsequence_len: 4096\n";
  for (const std::string mask : {"kv < 4 || q >= kv", "q - kv < 1024", "1",
                                 "q >= kv || kv - q > 3000", "h == 5 || q >= kv"}) {
    expect_one(check(flex + "flex_mask_mod: \"" + mask + "\"\n"), 21, Severity::note,
               "flex_mask_mod", 3, {"not causal"});
  }
  for (const std::string mask : {"q >= kv", "q >= kv && q - kv < 1024", "kv - q < 1", "kv <= q",
                                 "q >= kv && doc[q] == doc[kv]"}) {
    expect_none(check(flex + "flex_mask_mod: \"" + mask + "\"\n"), 21);
  }
  expect_none(check("flex_attention: true\n"), 21);
}

TEST_F(RuleMachine, Rule21_DivisionByZeroAndWildValues_DoNotCrash) {
  for (const std::string mask : {"q / (kv - kv) > 1", "q % 0", "sqrt(0 - kv)", "exp(exp(q))",
                                 "log(0) < floor(1e300 * 1e300)", "rsqrt(0)"}) {
    check("flex_attention: true\nflex_mask_mod: \"" + mask + "\"\n");
  }
}

TEST_F(RuleMachine, Rule22_Auto_FollowsTheDevice) {
  const std::vector<std::pair<std::string, Tristate>> cases = {
      {"pascal", Tristate::no},  {"turing", Tristate::no},     {"ampere", Tristate::yes},
      {"hopper", Tristate::yes}, {"blackwell", Tristate::yes}, {"mi300", Tristate::yes}};
  for (const auto& entry : cases) {
    const CheckResult written = check("sdp_attention: true\nbf16: auto\n", entry.first);
    expect_one(written, 22, Severity::set, "bf16", 2, {"bf16: auto becomes"});
    EXPECT_EQ(written.config.bf16, entry.second) << entry.first;
    const CheckResult absent = check("sdp_attention: true\n", entry.first);
    expect_one(absent, 22, Severity::set, "bf16", 0);
    EXPECT_EQ(absent.config.bf16, entry.second) << entry.first;
  }
}

TEST_F(RuleMachine, Rule22_AutoOnACpu_AsksForBf16Hardware) {
  regard::Machine machine = regard::describe_machine("cpu");
  machine.cpu = {};
  EXPECT_EQ(check("", machine).config.bf16, Tristate::no);
  machine.cpu.avx512_bf16 = true;
  EXPECT_EQ(check("", machine).config.bf16, Tristate::yes);
  machine.cpu = {};
  machine.cpu.amx_bf16 = true;
  EXPECT_EQ(check("", machine).config.bf16, Tristate::yes);
}

TEST_F(RuleMachine, Rule22_AutoWithFp16_BecomesFalse) {
  const CheckResult result = check("bf16: auto\nfp16: true\n", "hopper");
  expect_one(result, 22, Severity::set, "bf16", 1, {"false", "fp16"});
  EXPECT_EQ(result.config.bf16, Tristate::no);
  EXPECT_TRUE(result.ok()) << all_findings(result);
}

TEST_F(RuleMachine, Rule22_TrueWithoutHardware_IsAnErrorOnGpusOnly) {
  expect_one(check("bf16: true\n", "turing"), 22, Severity::error, "bf16", 1, {"bf16: auto"});
  expect_none(check("bf16: true\n", "ampere"), 22);
  regard::Machine cpu = regard::describe_machine("cpu");
  cpu.cpu = {};
  expect_none(check("bf16: true\n", cpu), 22);
}

TEST_F(RuleMachine, Rule22_BothTrue_IsAnError) {
  expect_one(check("bf16: true\nfp16: true\n", "ampere"), 22, Severity::error, "bf16", 1,
             {"both true"});
  expect_none(check("bf16: false\nfp16: true\n", "ampere"), 22);
}

TEST_F(RuleMachine, Rule30_HeadSizeBeyondTheModule_NamesAnotherModule) {
  write_model({.heads = 2, .head_dim = 320});
  for (const std::string name : {"flash_attention_2", "sage", "s2"}) {
    expect_one(check("attn_implementation: " + name + "\n", "ampere"), 30, Severity::error,
               "attn_implementation", 1, {"320", "256", "sdp_attention"});
  }
  expect_one(check("flash_attention: true\n"), 30, Severity::error, "flash_attention", 1);
  for (const std::string name : {"sdpa", "eager", "flex_attention", "xformers"}) {
    expect_none(check("attn_implementation: " + name + "\n", "ampere"), 30);
  }
  write_model({.heads = 2, .head_dim = 640});
  for (const std::string name : {"flex_attention", "xformers"}) {
    expect_one(check("attn_implementation: " + name + "\n"), 30, Severity::error,
               "attn_implementation", 1, {"640", "512"});
  }
  expect_none(check("sdp_attention: true\n"), 30);
}

TEST_F(RuleMachine, Rule30_HeadSizeAtTheLimit_IsFine) {
  write_model({.heads = 2, .head_dim = 256});
  expect_none(check("flash_attention: true\n"), 30);
}

}  // namespace
}  // namespace tune
