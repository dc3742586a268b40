// check_text on random bytes and on mutations of real configurations: it must always answer.
#include <chrono>
#include <random>

#include "check_fixture.h"

namespace tune {
namespace {

using Fuzz = RuleTest;
using Clock = std::chrono::steady_clock;

constexpr auto kBudget = std::chrono::milliseconds(1500);

// Each text must give a list of findings that can be written, and a config when it is ok.
void run_one(const std::string& text, Purpose purpose) {
  const CheckResult result =
      check_text(text, "fuzz.yml", {regard::describe_machine("turing"), purpose, {}});
  for (const Finding& finding : result.findings) {
    EXPECT_GE(finding.rule, 1);
    EXPECT_LE(finding.rule, 33);
    EXPECT_FALSE(finding.message.empty());
    EXPECT_FALSE(format_finding(finding, "fuzz.yml").empty());
  }
  EXPECT_FALSE(findings_to_json(result.findings).empty());
  if (!result.ok()) return;
  const CheckResult again = check_text(config_to_yaml(result.config), "again.yml",
                                       {regard::describe_machine("turing"), purpose, {}});
  EXPECT_TRUE(findings_of(again, 28).empty()) << text << all_findings(again);
}

TEST_F(Fuzz, RandomBytes_AlwaysGetAnAnswer) {
  std::mt19937 generator(11);
  const auto end = Clock::now() + kBudget;
  for (int i = 0; Clock::now() < end; ++i) {
    SCOPED_TRACE("text " + std::to_string(i));
    std::string text;
    for (size_t n = generator() % 200; n-- > 0;) text += static_cast<char>(generator() % 256);
    run_one(text, Purpose::train);
  }
}

TEST_F(Fuzz, RandomYamlTokens_AlwaysGetAnAnswer) {
  const std::vector<std::string> tokens = {"base_model",
                                           ": ",
                                           ":",
                                           "\n",
                                           "\n  ",
                                           "- ",
                                           "[",
                                           "]",
                                           "{",
                                           "}",
                                           ",",
                                           "\"",
                                           "'",
                                           "#",
                                           "&a ",
                                           "*a",
                                           "<<",
                                           "|",
                                           ">",
                                           "? ",
                                           "datasets",
                                           "path",
                                           "true",
                                           "null",
                                           "1e3",
                                           "!!str ",
                                           "---",
                                           "...",
                                           "\t",
                                           "%YAML 1.2",
                                           "flex_tensors",
                                           "from",
                                           "seed",
                                           "bf16",
                                           "auto",
                                           "\\",
                                           "@",
                                           "`",
                                           "special_tokens"};
  std::mt19937 generator(12);
  const auto end = Clock::now() + kBudget;
  for (int i = 0; Clock::now() < end; ++i) {
    SCOPED_TRACE("text " + std::to_string(i));
    std::string text;
    for (size_t n = generator() % 40; n-- > 0;) text += tokens[generator() % tokens.size()];
    run_one(text, i % 2 == 0 ? Purpose::train : Purpose::infer);
  }
}

TEST_F(Fuzz, MutationsOfAGoodFile_AlwaysGetAnAnswer) {
  const std::string good = file(
      "flex_attention: true\nflex_mask_mod: \"q >= kv && q - kv < 16\"\nsequence_len: 256\n"
      "special_tokens:\n  pad_token: \"<pad>\"\nlora_target_modules: [q_proj, v_proj]\n"
      "adapter: lora\nval_set_size: 0.1\nsample_packing: yes\nwandb_project: x\n");
  std::mt19937 generator(13);
  const auto end = Clock::now() + kBudget;
  for (int i = 0; Clock::now() < end; ++i) {
    SCOPED_TRACE("text " + std::to_string(i));
    std::string text = good;
    for (size_t n = 1 + generator() % 6; n-- > 0 && !text.empty();) {
      const size_t at = generator() % text.size();
      switch (generator() % 4) {
        case 0:
          text[at] = static_cast<char>(32 + generator() % 95);
          break;
        case 1:
          text.erase(at, 1 + generator() % 8);
          break;
        case 2:
          text.insert(at, text.substr(generator() % text.size(), generator() % 30));
          break;
        default:
          text.resize(at);
      }
    }
    run_one(text, Purpose::train);
  }
}

}  // namespace
}  // namespace tune
