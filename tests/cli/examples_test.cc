// Every example of a module trains for a few steps, from the folder a reader would start it in.
#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "regard/modules.h"
#include "tests/cli/program.h"
#include "tests/support/temp_folder.h"

namespace cli {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> examples() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(REGARD_EXAMPLES "/modules"))
    names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

class Example : public testing::TestWithParam<std::string> {};

TEST_P(Example, TrainsForThreeSteps) {
  const test_support::TempFolder folder;
  const std::string out = folder / "out";
  const ProgramResult result =
      run_program("train examples/modules/" + GetParam() + ".yml --max_steps 3 --logging_steps 1" +
                      " --output_dir " + out + " --dataset_prepared_path " + (folder / "data"),
                  "cd " REGARD_EXAMPLES "/.. &&");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("step 3/3  loss "), std::string::npos) << result.output;
  EXPECT_TRUE(fs::exists(out + "/model.safetensors"));
}

INSTANTIATE_TEST_SUITE_P(Modules, Example, testing::ValuesIn(examples()),
                         [](const auto& instance) { return instance.param; });

TEST(Examples, EveryBooleanKeyOfAModule_HasOne) {
  const std::vector<std::string> names = examples();
  std::string all;
  for (const std::string& name : names) {
    std::ifstream file(REGARD_EXAMPLES "/modules/" + name + ".yml");
    all.append(std::istreambuf_iterator<char>(file), {});
  }
  for (const regard::ModuleInfo& info : regard::modules()) {
    if (info.yaml_key.empty()) continue;  // flash_attention_3 by name needs a GPU
    EXPECT_NE(all.find("\n" + std::string(info.yaml_key) + ": true\n"), std::string::npos)
        << info.name;
  }
}

}  // namespace
}  // namespace cli
