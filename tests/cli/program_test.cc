// Usage, exit codes and messages, without training.
#include <nlohmann/json.hpp>

#include "tests/cli/program.h"

namespace cli {
namespace {

TEST(Program, NoCommand_ShowsUsageWithCode2) {
  const ProgramResult result = run_program("");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.output.find("usage: regard"), std::string::npos);
}

TEST(Program, UnknownCommand_IsNamedWithCode2) {
  const ProgramResult result = run_program("trian file.yml");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.output.find("'trian'"), std::string::npos);
}

TEST(Program, HelpOfEachCommand_Succeeds) {
  for (const char* command :
       {"train", "check", "preprocess", "infer", "merge-lora", "evaluate", "warmup", "doctor"}) {
    const ProgramResult result = run_program(std::string(command) + " --help");
    EXPECT_EQ(result.exit_code, 0) << command << result.output;
    EXPECT_NE(result.output.find(command), std::string::npos);
  }
}

TEST(Program, MissingFile_HasCode2AndNamesIt) {
  const ProgramResult result = run_program("train is-not-there.yml");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.output.find("is-not-there.yml"), std::string::npos) << result.output;
}

TEST_F(ProgramTest, EmptyAndBinaryFiles_HaveCode2) {
  write_config("");
  EXPECT_EQ(run_program("train " + folder_ + "/config.yml").exit_code, 2);
  EXPECT_EQ(run_program("train " REGARD_PROGRAM).exit_code, 2);
}

TEST_F(ProgramTest, CheckJson_IsTheDocumentedArray) {
  const std::string file = write_config(tiny_config("flash_attentoin: true\n"));
  const ProgramResult result = run_program("check --json --machine ampere " + file, "2>/dev/null");
  EXPECT_EQ(result.exit_code, 2);
  const nlohmann::json findings = nlohmann::json::parse(result.output);
  bool found = false;
  for (const nlohmann::json& finding : findings) {
    for (const char* key : {"rule", "severity", "key", "line", "column", "message"})
      EXPECT_TRUE(finding.contains(key));
    if (finding["rule"] != 27) continue;
    found = true;
    EXPECT_EQ(finding["severity"], "error");
    EXPECT_EQ(finding["key"], "flash_attentoin");
    EXPECT_NE(finding["message"].get<std::string>().find("flash_attention"), std::string::npos);
  }
  EXPECT_TRUE(found) << result.output;
}

TEST_F(ProgramTest, CheckOnTuring_RefusesFlashAndNamesXformers) {
  const std::string file = write_config(tiny_config("flash_attention: true\n"));
  EXPECT_EQ(run_program("check " + file + " --machine ampere").exit_code, 0);
  const ProgramResult result = run_program("check " + file + " --machine turing");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.output.find("xformers_attention"), std::string::npos);
}

TEST_F(ProgramTest, CheckWithBadMachine_HasCode2) {
  const std::string file = write_config(tiny_config());
  EXPECT_EQ(run_program("check " + file + " --machine quantum").exit_code, 2);
  EXPECT_EQ(run_program("check " + file + " --machine hopper --cuda twelve").exit_code, 2);
}

TEST_F(ProgramTest, CheckVersions_BelongToTheirMachines) {
  const std::string check = "check " + write_config(tiny_config("flash_attention: true\n"));
  EXPECT_NE(run_program(check + " --machine hopper --cuda 12").output.find("12.0 is here"),
            std::string::npos);
  EXPECT_EQ(run_program(check + " --machine hopper --cuda 13").exit_code, 0);
  EXPECT_EQ(run_program(check + " --machine hopper --cuda 13.").exit_code, 2);
  for (const char* options : {" --machine cpu --cuda 12.4", " --machine hopper --rocm 6.2",
                              " --machine mi300 --cuda 12.4"}) {
    const ProgramResult result = run_program(check + options);
    EXPECT_EQ(result.exit_code, 2) << options;
    EXPECT_NE(result.output.find("GPU, and the machine is"), std::string::npos) << result.output;
  }
}

TEST_F(ProgramTest, PreparedFolderInTheWay_IsNotedAndTheRowsAreShown) {
  std::ofstream(folder_ + "/prepared") << "a file of this name";
  const ProgramResult result = run_program("preprocess --debug " + write_config(tiny_config()));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("note: prepared data were not stored"), std::string::npos)
      << result.output;
  EXPECT_NE(result.output.find("24 for training"), std::string::npos) << result.output;
}

TEST(Program, DoctorJson_NamesEveryModule) {
  const ProgramResult result = run_program("doctor --json");
  EXPECT_EQ(result.exit_code, 0);
  const nlohmann::json doctor = nlohmann::json::parse(result.output);
  EXPECT_EQ(doctor["machine"]["kind"], "cpu");  // what computes, also where a GPU is shown
  EXPECT_EQ(doctor["modules"].size(), 8u);
  for (const nlohmann::json& module : doctor["modules"]) {
    EXPECT_EQ(module["runs"].get<bool>(), module["reason"].get<std::string>().empty()) << module;
  }
}

}  // namespace
}  // namespace cli
