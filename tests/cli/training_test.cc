// Whole runs of the tiny model through the program.
#include <sys/stat.h>

#include "tests/cli/program.h"
#include "tune/files/atomic_write.h"

namespace cli {
namespace {

namespace fs = std::filesystem;

TEST_F(ProgramTest, Train_LeavesModelLogsAndReport) {
  const ProgramResult result = run_program("train " + write_config(tiny_config()));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("step 4/4"), std::string::npos) << result.output;
  for (const char* name : {"model.safetensors", "config.json", "tokenizer.json", "config.yml",
                           "metrics.jsonl", "report.html"}) {
    EXPECT_TRUE(fs::exists(folder_ + "/out/" + name)) << name;
  }
  EXPECT_TRUE(fs::exists(folder_ + "/out/runs"));
}

TEST_F(ProgramTest, TrainWithOverride_UsesTheCommandLine) {
  const ProgramResult result = run_program("train --max-steps 2 " + write_config(tiny_config()));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("step 2/2"), std::string::npos) << result.output;
}

TEST_F(ProgramTest, ResolvedConfiguration_TrainsTheSameModelAgain) {
  ASSERT_EQ(run_program("train " + write_config(tiny_config())).exit_code, 0);
  const std::string first = tune::read_file(folder_ + "/out/model.safetensors");
  const ProgramResult again =
      run_program("train " + folder_ + "/out/config.yml --output_dir " + folder_ + "/again");
  ASSERT_EQ(again.exit_code, 0) << again.output;
  EXPECT_TRUE(first == tune::read_file(folder_ + "/again/model.safetensors"));
}

TEST_F(ProgramTest, LoraTrainMergeInferEvaluate_WorkTogether) {
  ASSERT_EQ(run_program("train " + write_config(tiny_config("max_steps: 1\n").replace(0, 0, "")))
                .exit_code,
            2)
      << "a key given twice must be refused";
  ASSERT_EQ(run_program("train " + write_config(tiny_config())).exit_code, 0);
  // The trained folder is a model like any other: LoRA on top of it.
  const std::string lora = write_config(
      "base_model: " + folder_ +
      "/out\nadapter: lora\nlora_r: 4\nlora_alpha: 8\nlora_target_linear: true\n"
      "val_set_size: 0.2\ndatasets:\n  - path: " +
      folder_ + "/data.jsonl\n    type: alpaca\ndataset_prepared_path: " + folder_ +
      "/prepared\nsequence_len: 128\nmicro_batch_size: 2\n"
      "gradient_accumulation_steps: 1\nlearning_rate: 1e-3\nmax_steps: 3\nbf16: false\n"
      "output_dir: " +
      folder_ + "/lora\n");
  ProgramResult result = run_program("train " + lora);
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_TRUE(fs::exists(folder_ + "/lora/adapter_model.safetensors"));
  EXPECT_TRUE(fs::exists(folder_ + "/lora/adapter_config.json"));

  result = run_program("evaluate " + lora);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_NE(result.output.find("perplexity"), std::string::npos);

  const std::string ask = " --prompt 'Count to 3.' --max-new-tokens 12 --temperature 0";
  const ProgramResult with_adapter = run_program("infer " + lora + ask);
  EXPECT_EQ(with_adapter.exit_code, 0) << with_adapter.output;

  result = run_program("merge-lora " + lora);
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_TRUE(fs::exists(folder_ + "/lora/merged/model.safetensors"));
  const ProgramResult merged =
      run_program("infer " + lora + " --base --base_model " + folder_ + "/lora/merged" + ask);
  EXPECT_EQ(merged.exit_code, 0) << merged.output;
  EXPECT_EQ(merged.output, with_adapter.output);
}

TEST_F(ProgramTest, PartNotBuiltYet_IsRefusedBeforeAnythingIsLoaded) {
  const ProgramResult result = run_program("train " + write_config(tiny_config("fp16: true\n")));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.output.find("not built yet"), std::string::npos) << result.output;
  EXPECT_FALSE(fs::exists(folder_ + "/prepared"));
}

TEST_F(ProgramTest, DataSetMissing_IsNamedAndNothingIsLost) {
  const std::string file = write_config(tiny_config());
  ASSERT_EQ(run_program("train " + file).exit_code, 0);
  const std::string model = tune::read_file(folder_ + "/out/model.safetensors");
  fs::remove(folder_ + "/data.jsonl");
  const ProgramResult result = run_program("train " + file);
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.output.find("data.jsonl"), std::string::npos) << result.output;
  EXPECT_TRUE(model == tune::read_file(folder_ + "/out/model.safetensors"));
}

TEST_F(ProgramTest, OutputFolderIsAFile_IsToldBeforeLoading) {
  std::ofstream(folder_ + "/out") << "in the way";
  const ProgramResult result = run_program("train " + write_config(tiny_config()));
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.output.find("/out"), std::string::npos) << result.output;
  EXPECT_EQ(result.output.find("step 1"), std::string::npos);
}

TEST_F(ProgramTest, FullDisk_EndsWithAMessageAndKeepsTheLastResult) {
  const std::string file = write_config(tiny_config());
  ASSERT_EQ(run_program("train " + file).exit_code, 0);
  const std::string model = tune::read_file(folder_ + "/out/model.safetensors");
  // A file size limit of 1 MB stands for a full disk: the model has 4 MB.
  const ProgramResult result = run_program("train " + file, "ulimit -f 1000;");
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_NE(result.output.find("error:"), std::string::npos) << result.output;
  EXPECT_TRUE(model == tune::read_file(folder_ + "/out/model.safetensors"));
}

TEST_F(ProgramTest, Interrupt_SavesAndResumesBitForBit) {
  const std::string file = write_config(tiny_config());
  ASSERT_EQ(
      run_program("train " + file + " --max_steps 12 --output_dir " + folder_ + "/whole").exit_code,
      0);
  // SIGINT when the third step shows in the log.
  const std::string log = folder_ + "/log";
  const ProgramResult interrupted =
      run_program("train " + file + " --max_steps 12 --output_dir " + folder_ + "/cut > " + log +
                      " & pid=$!; while ! grep -q 'step  3/12' " + log +
                      "; do sleep 0.01; kill -0 $pid || break; done; kill -INT $pid; wait $pid",
                  "touch " + log + ";");
  ASSERT_TRUE(interrupted.exit_code == 130 || interrupted.exit_code == 0) << interrupted.output;
  const ProgramResult resumed =
      run_program("train " + file + " --max_steps 12 --resume_from_checkpoint true --output_dir " +
                  folder_ + "/cut");
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_TRUE(tune::read_file(folder_ + "/whole/model.safetensors") ==
              tune::read_file(folder_ + "/cut/model.safetensors"));
}

TEST_F(ProgramTest, AttentionModules_LearnTheSame) {
  std::string first;
  for (const char* name : {"sdpa", "flash_attention_2", "eager"}) {
    const ProgramResult result = run_program(
        "train " + write_config(tiny_config(std::string("attn_implementation: ") + name + "\n")));
    ASSERT_EQ(result.exit_code, 0) << result.output;
    const size_t at = result.output.find("step 4/4");
    const std::string last = result.output.substr(at, result.output.find("lr", at) - at);
    if (first.empty()) first = last;
    EXPECT_EQ(last, first) << name;  // four digits of the loss
  }
}

}  // namespace
}  // namespace cli
