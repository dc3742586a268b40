#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/tune/data/fake_tokenizer.h"
#include "tests/tune/data/temporary_folder.h"
#include "tune/data/dataset.h"
#include "tune/error.h"

namespace tune {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

FakeTokenizer make_tokenizer() {
  FakeTokenizer tokenizer({"</s>"});
  tokenizer.special_.eos = 256;
  return tokenizer;
}

// Completion rows; nothing is cached unless a test asks for it.
Config make_config(const std::string& path) {
  Config config;
  config.datasets.resize(1);
  config.datasets[0].path = path;
  config.datasets[0].type = "completion";
  config.dataset_prepared_path.clear();
  return config;
}

std::string line(const std::string& text) { return "{\"text\":\"" + text + "\"}\n"; }

std::vector<std::string> texts(const std::vector<Sample>& samples) {
  std::vector<std::string> result;
  for (const Sample& sample : samples) {
    result.push_back(make_tokenizer().decode(sample.input_ids, true));
  }
  return result;
}

std::string error_of(const Config& config) {
  return message_of<UsageError>([&] { prepare_data(config, make_tokenizer()); });
}

std::string numbered_rows(int count) {
  std::string rows;
  for (int i = 0; i < count; ++i) rows += line("row" + std::to_string(i));
  return rows;
}

constexpr const char* kPretokenized =
    "{\"input_ids\":[1,2,3]}\n{\"input_ids\":[1,2,3,4,5,6,7]}\n{\"input_ids\":[1]}\n"
    "{\"input_ids\":[1,2],\"labels\":[1,-100]}\n{\"input_ids\":[1,2,3,4,5],\"labels\":"
    "[-100,-100,-100,-100,5]}\n";

}  // namespace

TEST(PrepareData, Stats_CountEveryRow) {
  const TemporaryFolder folder;
  Config config = make_config(folder.write("d.jsonl", kPretokenized));
  config.datasets[0].type = "";
  config.sequence_len = 4;
  PreparedData data = prepare_data(config, make_tokenizer());
  EXPECT_EQ(data.train.size(), 1u);
  EXPECT_EQ(data.stats.num_rows, 5);
  EXPECT_EQ(data.stats.num_dropped_long, 2);
  EXPECT_EQ(data.stats.num_dropped_short, 1);
  EXPECT_EQ(data.stats.num_dropped_untrainable, 1);
  EXPECT_EQ(data.stats.num_tokens, 3);
  EXPECT_EQ(data.stats.num_trainable, 2);
  EXPECT_EQ(data.stats.longest, 3);
  EXPECT_FALSE(data.stats.from_cache);

  config.excess_length_strategy = "truncate";
  data = prepare_data(config, make_tokenizer());
  EXPECT_THAT(data.train[1].input_ids, ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(data.train[1].labels.size(), 4u);
  EXPECT_EQ(data.stats.num_truncated, 2);
  EXPECT_EQ(data.stats.num_dropped_long, 0);
  EXPECT_EQ(data.stats.num_dropped_untrainable, 2);  // one label was cut away
}

TEST(PrepareData, ExcessLengthRaise_NamesFileLineAndLengths) {
  const TemporaryFolder folder;
  Config config = make_config(folder.write("d.jsonl", kPretokenized));
  config.datasets[0].type = "";
  config.sequence_len = 4;
  config.excess_length_strategy = "raise";
  EXPECT_THAT(error_of(config),
              HasSubstr(folder.path("d.jsonl") +
                        ":2: the row has 7 tokens, more than sequence_len 4; raise sequence_len"));
}

TEST(PrepareData, NothingLeft_SaysWhy) {
  const TemporaryFolder folder;
  Config config = make_config(folder.write("d.jsonl", kPretokenized));
  config.datasets[0].type = "";
  config.sequence_len = 2;
  EXPECT_THAT(
      error_of(config),
      HasSubstr("no sample is left to train on: of 5 rows 3 were longer than sequence_len 2, "
                "1 shorter than 2 tokens, 1 without a token to learn"));
}

TEST(PrepareData, FileWithoutRows_IsNamed) {
  const TemporaryFolder folder;
  for (const char* content : {"\n \n\r\n", "[ ]", "\xEF\xBB\xBF\n"}) {
    const Config config = make_config(folder.write("none.jsonl", content));
    EXPECT_THAT(error_of(config), HasSubstr(folder.path("none.jsonl") + ": there is no row in it"));
  }
}

TEST(PrepareData, NothingToLearn_DoesNotBlameTheLength) {
  const TemporaryFolder folder;
  Config config =
      make_config(folder.write("d.jsonl", R"({"input_ids":[1,2,3],"labels":[-100,-100,-100]})"));
  config.datasets[0].type = "";
  EXPECT_THAT(error_of(config), AllOf(HasSubstr("of 1 rows 0 were longer"),
                                      HasSubstr("1 without a token to learn; check for"),
                                      Not(HasSubstr("raise sequence_len"))));
}

TEST(PrepareData, NothingLeftToEvaluateOn_CountsTheTestRowsOnly) {
  const TemporaryFolder folder;
  Config config = make_config(folder.write("d.jsonl", numbered_rows(3)));
  config.test_datasets = config.datasets;
  config.test_datasets[0].path = folder.write("t.jsonl", R"({"input_ids":[1,2,3,4,5,6,7,8,9]})");
  config.test_datasets[0].type = "";
  config.sequence_len = 8;
  EXPECT_THAT(error_of(config), HasSubstr("no sample is left to evaluate on (test_datasets): of 1 "
                                          "rows 1 were longer than sequence_len 8, 0 shorter"));
}

TEST(PrepareData, FolderAndDataFiles_AreReadInAFixedOrder) {
  const TemporaryFolder folder;
  folder.write("d/b.jsonl", line("b1") + line("b2"));
  folder.write("d/a.json", "[" + line("a1") + "]");
  folder.write("d/notes.txt", "no data");
  Config config = make_config(folder.path("d"));
  EXPECT_THAT(texts(prepare_data(config, make_tokenizer()).train), ElementsAre("a1", "b1", "b2"));
  config.datasets[0].data_files = {"b.jsonl", "a.json"};
  EXPECT_THAT(texts(prepare_data(config, make_tokenizer()).train), ElementsAre("b1", "b2", "a1"));
  config.datasets[0].path = "json";
  config.datasets[0].data_files = {folder.path("d/a.json")};
  EXPECT_THAT(texts(prepare_data(config, make_tokenizer()).train), ElementsAre("a1"));
}

TEST(PrepareData, RelativePath_IsAlsoFoundBesideTheConfiguration) {
  const TemporaryFolder folder;
  folder.write("d.jsonl", line("x"));
  Config config = make_config("d.jsonl");
  config.source_path = folder.path("train.yml");
  EXPECT_THAT(texts(prepare_data(config, make_tokenizer()).train), ElementsAre("x"));
}

TEST(PrepareData, PathsThatCannotBeRead_SayWhatIsExpected) {
  const TemporaryFolder folder;
  Config config = make_config("tatsu-lab/alpaca");
  config.source_path = "train.yml";
  config.datasets[0].line = 4;
  EXPECT_THAT(error_of(config), HasSubstr("train.yml:4: data set tatsu-lab/alpaca: no such file"));
  EXPECT_THAT(error_of(make_config(folder.path())), HasSubstr("has no .jsonl or .json file"));
  EXPECT_THAT(error_of(make_config(folder.write("e.jsonl", ""))), HasSubstr("the file is empty"));
  EXPECT_THAT(error_of(make_config(folder.write("p.parquet", "PAR1"))),
              HasSubstr(".parquet files are not read"));
  config = make_config(folder.write("d.jsonl", line("x")));
  config.datasets[0].split = "test";
  EXPECT_THAT(error_of(config), HasSubstr("split: \"test\""));
}

TEST(PrepareData, BrokenRow_NamesFileAndLine) {
  const TemporaryFolder folder;
  const std::string path = folder.write("d.jsonl", line("x") + "\n{\"txt\":\"y\"}\n");
  EXPECT_EQ(error_of(make_config(path)),
            path + ":3: missing field \"text\"; the fields here are: txt");
}

TEST(PrepareData, SeveralDatasets_AreJoinedEachInItsFormat) {
  const TemporaryFolder folder;
  Config config = make_config(folder.write("a.jsonl", line("x")));
  config.datasets.resize(2);
  config.datasets[1].path = folder.write("b.jsonl", "{\"input_ids\":[65,66]}");
  config.datasets[1].type = "";
  EXPECT_THAT(texts(prepare_data(config, make_tokenizer()).train), ElementsAre("x", "AB"));
}

TEST(PrepareData, ValidationShare_IsRoundedUpAndDrawnBySeed) {
  const TemporaryFolder folder;
  Config config = make_config(folder.write("d.jsonl", numbered_rows(70)));
  config.val_set_size = 0.1;
  const PreparedData first = prepare_data(config, make_tokenizer());
  EXPECT_EQ(first.validation.size(), 7u);
  EXPECT_EQ(first.train.size(), 63u);
  std::vector<std::string> all = texts(first.train);
  for (const std::string& text : texts(first.validation)) all.push_back(text);
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::unique(all.begin(), all.end()) - all.begin(), 70);
  EXPECT_EQ(prepare_data(config, make_tokenizer()).validation, first.validation);
  config.seed = 7;
  EXPECT_NE(prepare_data(config, make_tokenizer()).validation, first.validation);
  config.val_set_size = 0.101;
  EXPECT_EQ(prepare_data(config, make_tokenizer()).validation.size(), 8u);
}

TEST(PrepareData, ValidationNumber_IsTakenAsItIs) {
  const TemporaryFolder folder;
  Config config = make_config(folder.write("d.jsonl", numbered_rows(10)));
  config.val_set_size = 4;
  EXPECT_EQ(prepare_data(config, make_tokenizer()).validation.size(), 4u);
  config.val_set_size = 10;
  EXPECT_THAT(error_of(config), HasSubstr("val_set_size: 10 of 10 samples leaves none"));
}

TEST(PrepareData, ValidationOfTinySets_NeverEmptiesTheTrainingSet) {
  const TemporaryFolder folder;
  Config config = make_config(folder.write("d.jsonl", numbered_rows(3)));
  config.val_set_size = 0.99;
  EXPECT_EQ(prepare_data(config, make_tokenizer()).train.size(), 1u);
}

TEST(PrepareData, ValidationOfOneRow_IsRefusedNotForgotten) {
  const TemporaryFolder folder;
  Config config = make_config(folder.write("one.jsonl", numbered_rows(1)));
  config.val_set_size = 0.1;
  EXPECT_THAT(error_of(config), AllOf(HasSubstr("val_set_size: 0.1 of 1 sample leaves none"),
                                      HasSubstr("test_datasets")));
  config.val_set_size = 1;
  EXPECT_THAT(error_of(config), HasSubstr("val_set_size: 1 of 1 sample leaves none"));
  config.val_set_size = 0;
  EXPECT_EQ(prepare_data(config, make_tokenizer()).train.size(), 1u);
}

TEST(PrepareData, TestDatasets_AreTheValidationSet) {
  const TemporaryFolder folder;
  Config config = make_config(folder.write("d.jsonl", numbered_rows(3)));
  config.test_datasets = config.datasets;
  config.test_datasets[0].path = folder.write("t.jsonl", line("t1") + line("t2"));
  const PreparedData data = prepare_data(config, make_tokenizer());
  EXPECT_THAT(texts(data.validation), ElementsAre("t1", "t2"));
  EXPECT_EQ(data.train.size(), 3u);
  EXPECT_EQ(data.stats.num_rows, 5);
}

TEST(PrepareData, Progress_EndsAtTheNumberOfRows) {
  const TemporaryFolder folder;
  const Config config = make_config(folder.write("d.jsonl", numbered_rows(150)));
  std::vector<int64_t> seen;
  prepare_data(config, make_tokenizer(), [&seen](int64_t done, int64_t total) {
    EXPECT_EQ(total, 150);
    seen.push_back(done);
  });
  EXPECT_THAT(seen, ElementsAre(64, 128, 150));
}

}  // namespace tune
