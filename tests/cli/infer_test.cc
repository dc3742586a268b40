// What `regard infer` and the words around a run say.
#include <nlohmann/json.hpp>

#include "tests/cli/program.h"
#include "tune/files/atomic_write.h"

namespace cli {
namespace {

bool says(const ProgramResult& result, const std::string& words) {
  return result.output.find(words) != std::string::npos;
}

// A model of one step, so that there is something to ask.
class InferTest : public ProgramTest {
 protected:
  void SetUp() override {
    file_ = write_config(tiny_config());
    const ProgramResult trained = run_program("train " + file_ + " --max_steps 1");
    ASSERT_EQ(trained.exit_code, 0) << trained.output;
  }

  ProgramResult infer(const std::string& options, const std::string& before = "") const {
    return run_program("infer " + file_ + " --max-new-tokens 6 " + options, before);
  }

  // The model of the run claims fewer positions; the warning then counts a prompt's tokens.
  void limit_positions(int positions) const {
    const std::string path = folder_ + "/out/config.json";
    nlohmann::json shape = nlohmann::json::parse(tune::read_file(path));
    shape["max_position_embeddings"] = positions;
    std::ofstream(path) << shape;
  }

  static std::string from_last_warning(const std::string& output) {
    const size_t at = output.rfind("warning: ");
    return at == std::string::npos ? "no warning" : output.substr(at);
  }

  std::string file_;
};

TEST_F(InferTest, SystemMessageOfAlpaca_IsRefusedNotDropped) {
  const ProgramResult result = infer("--system 'Be brief.' --prompt Hello");
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_TRUE(says(result, "--system") && says(result, "alpaca")) << result.output;
  const ProgramResult completion =
      infer("--system 'Be brief.' --prompt Hello --datasets[0].type completion");
  EXPECT_EQ(completion.exit_code, 2) << completion.output;
  EXPECT_TRUE(says(completion, "completion")) << completion.output;
  const std::string chat = "--datasets[0].type chat_template --chat_template chatml --prompt Hello";
  const ProgramResult with_system = infer(chat + " --system 'Be brief.'");
  EXPECT_EQ(with_system.exit_code, 0) << with_system.output;
}

TEST_F(InferTest, ChatOfAlpaca_AsksEveryLineByItselfAndSaysSo) {
  limit_positions(8);
  const ProgramResult chat = infer("--chat", "printf 'One?\\nTwo?\\n' |");
  EXPECT_EQ(chat.exit_code, 0) << chat.output;
  EXPECT_TRUE(says(chat, "every line is asked by itself")) << chat.output;
  const std::string second = infer("--prompt 'Two?'").output;
  EXPECT_EQ(from_last_warning(chat.output), from_last_warning(second));
}

TEST_F(InferTest, OptionsThatContradict_HaveCode2) {
  EXPECT_EQ(infer("--raw --system x --prompt y").exit_code, 2);
  EXPECT_EQ(infer("--raw --chat", "echo x |").exit_code, 2);
  EXPECT_EQ(infer("--chat --prompt y", "echo x |").exit_code, 2);
  EXPECT_EQ(infer("--prompt ''", "echo x |").exit_code, 2);
  EXPECT_EQ(infer("", "true |").exit_code, 2);
}

TEST_F(InferTest, PipedText_IsOnePromptOfAllItsLines) {
  limit_positions(8);
  const ProgramResult piped = infer("", "printf 'Count to 3.\\nThen to 4.\\n' |");
  const ProgramResult given = infer("--prompt \"$(printf 'Count to 3.\\nThen to 4.')\"");
  EXPECT_EQ(piped.exit_code, 0) << piped.output;
  EXPECT_EQ(piped.output, given.output);
  EXPECT_NE(from_last_warning(piped.output),
            from_last_warning(infer("--prompt 'Count to 3.'").output));
}

TEST_F(InferTest, BeyondTheModelsPositions_IsWarnedOf) {
  EXPECT_FALSE(says(infer("--prompt Hello"), "warning")) << "within the positions";
  limit_positions(8);
  const ProgramResult raw = infer("--raw --prompt Hello");
  EXPECT_EQ(raw.exit_code, 0) << raw.output;
  EXPECT_TRUE(says(raw, "warning") && says(raw, "8 positions") && says(raw, "--max-new-tokens"))
      << raw.output;
  EXPECT_TRUE(says(infer("--prompt 'A longer prompt than that'"), "shorter prompt"));
}

TEST_F(InferTest, SetLines_AreForTrainingOnly) {
  const std::string automatic = " --bf16 auto";
  EXPECT_FALSE(says(infer("--prompt Hello" + automatic), " set: "));
  EXPECT_TRUE(says(run_program("check " + file_ + automatic), " set: "));
}

TEST_F(ProgramTest, MistypedOption_NamesTheNearest) {
  const std::string file = write_config(tiny_config());
  const ProgramResult key = run_program("check " + file + " --learning-rat 1e-4");
  EXPECT_EQ(key.exit_code, 2);
  EXPECT_TRUE(says(key, "--learning_rat: error:") && says(key, "--learning_rate ")) << key.output;
  const ProgramResult option = run_program("infer " + file + " --max-new-token 5");
  EXPECT_EQ(option.exit_code, 2);
  EXPECT_TRUE(says(option, "--max-new-tokens")) << option.output;
  const ProgramResult value = run_program("check " + file + " --learning_rate fast");
  EXPECT_EQ(value.exit_code, 2);
  EXPECT_TRUE(says(value, "--learning_rate: error:")) << value.output;
  const ProgramResult eaten = run_program("check --bf16 " + file);
  EXPECT_EQ(eaten.exit_code, 2);
  EXPECT_TRUE(says(eaten, "--bf16 took")) << eaten.output;
}

TEST_F(ProgramTest, Check_LooksForTheDataAsTrainWould) {
  const std::string file = write_config(tiny_config());
  EXPECT_EQ(run_program("check " + file).exit_code, 0);
  std::filesystem::remove(folder_ + "/data.jsonl");
  for (const std::string command : {"check ", "train "}) {
    const ProgramResult result = run_program(command + file);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_TRUE(says(result, "config.yml:4:11: error:") && says(result, "data.jsonl"))
        << result.output;
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/out"));
}

TEST(Program, DoctorWithFileOrKey_HasCode2) {
  EXPECT_EQ(run_program("doctor file.yml").exit_code, 2);
  EXPECT_EQ(run_program("doctor --learning_rate 1").exit_code, 2);
  const ProgramResult result = run_program("doctor --jsn");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(says(result, "--json")) << result.output;
}

TEST_F(ProgramTest, PreprocessDebug_ColoursATerminalOnly) {
  const std::string words = "preprocess --debug " + write_config(tiny_config());
  const ProgramResult piped = run_program(words);
  EXPECT_EQ(piped.exit_code, 0) << piped.output;
  EXPECT_TRUE(says(piped, "(-100, ")) << piped.output;
  EXPECT_FALSE(says(piped, "\033["));
  const auto on_terminal = [&](const std::string& environment) {
    const std::string command =
        "script -qec '" + environment + " " REGARD_PROGRAM " " + words + "' /dev/null #";
    return run_program("", command);
  };
  if (run_program("", "command -v script #").exit_code != 0)
    GTEST_SKIP() << "no script(1), which gives a program a terminal";
  EXPECT_TRUE(says(on_terminal("NO_COLOR="), "\033[32m"));
  EXPECT_FALSE(says(on_terminal("NO_COLOR=1"), "\033[32m"));
}

}  // namespace
}  // namespace cli
