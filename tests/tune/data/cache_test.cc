#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <set>
#include <thread>

#include "tests/tune/data/fake_tokenizer.h"
#include "tests/tune/data/temporary_folder.h"
#include "tune/data/dataset.h"
#include "tune/data/prepared_cache.h"
#include "tune/error.h"

namespace tune {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

FakeTokenizer make_tokenizer() {
  FakeTokenizer tokenizer({"<s>", "</s>", "<|im_start|>", "<|im_end|>"});
  tokenizer.special_.eos = 257;
  tokenizer.chat_template_ =
      "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
      "message['content'] "
      "+ '<|im_end|>' + '\n' }}{% endfor %}";
  return tokenizer;
}

// Three kinds of data sets, so that every key of an entry has something to change.
struct Setting {
  TemporaryFolder folder;
  Config config;
  FakeTokenizer tokenizer = make_tokenizer();

  Setting() {
    config.dataset_prepared_path = folder.path("prepared");
    config.datasets.resize(3);
    config.datasets[0].path = folder.write("a.jsonl",
                                           "{\"text\":\"abcdefgh\",\"other\":\"ABCDEFGH\"}\n"
                                           "{\"text\":\"xyz\",\"other\":\"XYZ\"}\n");
    config.datasets[0].type = "completion";
    config.datasets[1].path = folder.write(
        "b.jsonl",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\",\"as\":\"Q\"},"
        "{\"role\":\"assistant\",\"content\":\"w\",\"as\":\"W\"}],\"turns\":[{\"role\":"
        "\"assistant\",\"content\":\"other\"}]}\n");
    config.datasets[1].type = "chat_template";
    config.datasets[2].path = folder.write("c.jsonl", "{\"instruction\":\"i\",\"output\":\"o\"}\n");
    config.datasets[2].type = "alpaca";
    config.val_set_size = 0.3;
  }

  PreparedData prepare() const { return prepare_data(config, tokenizer); }
  std::string key() const { return fs::path(prepare().stats.cache_path).filename().string(); }
};

std::string only_entry(const Setting& setting) {
  std::set<std::string> entries;
  for (const auto& entry : fs::directory_iterator(setting.folder.path("prepared"))) {
    entries.insert(entry.path().string());
  }
  EXPECT_EQ(entries.size(), 1u);
  return entries.empty() ? "" : *entries.begin();
}

}  // namespace

TEST(PreparedCache, SecondRun_GivesTheSameDataFromTheCache) {
  const Setting setting;
  const PreparedData first = setting.prepare();
  EXPECT_FALSE(first.stats.from_cache);
  EXPECT_EQ(first.stats.note, "");
  bool was_tokenized = false;
  const PreparedData second = prepare_data(setting.config, setting.tokenizer,
                                           [&](int64_t, int64_t) { was_tokenized = true; });
  EXPECT_TRUE(second.stats.from_cache);
  EXPECT_FALSE(was_tokenized);
  EXPECT_EQ(second.train, first.train);
  EXPECT_EQ(second.validation, first.validation);
  EXPECT_EQ(second.stats.num_rows, 4);
  EXPECT_EQ(second.stats.num_tokens, first.stats.num_tokens);
  EXPECT_EQ(second.stats.num_trainable, first.stats.num_trainable);
  EXPECT_EQ(second.stats.longest, first.stats.longest);
  EXPECT_EQ(second.stats.cache_path, first.stats.cache_path);
  EXPECT_TRUE(fs::exists(fs::path(second.stats.cache_path) / "stats.json"));
}

TEST(PreparedCache, EveryKeyThatChangesTheRows_ChangesTheEntry) {
  const std::map<std::string, std::function<void(Setting&)>> changes = {
      {"file content, same size",
       [](Setting& s) { s.folder.write("c.jsonl", "{\"instruction\":\"i\",\"output\":\"p\"}\n"); }},
      {"another file",
       [](Setting& s) {
         s.config.datasets[0].path = s.config.datasets[2].path;
         s.config.datasets[0].type = "alpaca";
       }},
      {"order of data sets",
       [](Setting& s) { std::swap(s.config.datasets[0], s.config.datasets[2]); }},
      {"fewer data sets", [](Setting& s) { s.config.datasets.pop_back(); }},
      {"type",
       [](Setting& s) {
         s.config.datasets[2].type = "completion";
         s.config.datasets[2].field = "output";
       }},
      {"field", [](Setting& s) { s.config.datasets[0].field = "other"; }},
      {"field_messages", [](Setting& s) { s.config.datasets[1].field_messages = "turns"; }},
      {"message_property_mappings",
       [](Setting& s) { s.config.datasets[1].message_property_mappings["content"] = "as"; }},
      {"roles_to_train", [](Setting& s) { s.config.datasets[1].roles_to_train.push_back("user"); }},
      {"train_on_eos", [](Setting& s) { s.config.datasets[1].train_on_eos = "none"; }},
      {"data set's chat_template",
       [](Setting& s) { s.config.datasets[1].chat_template = "llama3"; }},
      {"chat_template", [](Setting& s) { s.config.chat_template = "llama3"; }},
      {"the model's template",
       [](Setting& s) {
         s.tokenizer.chat_template_ += "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}";
       }},
      {"sequence_len", [](Setting& s) { s.config.sequence_len = 400; }},
      {"excess_length_strategy", [](Setting& s) { s.config.excess_length_strategy = "truncate"; }},
      {"train_on_inputs", [](Setting& s) { s.config.train_on_inputs = true; }},
      {"val_set_size", [](Setting& s) { s.config.val_set_size = 0.31; }},
      {"seed of the split", [](Setting& s) { s.config.seed = 43; }},
      {"special_tokens", [](Setting& s) { s.config.special_tokens["pad_token"] = "</s>"; }},
      {"tokens", [](Setting& s) { s.config.tokens.push_back("<new>"); }},
      {"tokenizer", [](Setting& s) { s.tokenizer.fingerprint_ = "another"; }},
      {"bos", [](Setting& s) { s.tokenizer.special_.bos = 256; }},
      {"eos", [](Setting& s) { s.tokenizer.special_.eos = 259; }},
      {"test_datasets", [](Setting& s) { s.config.test_datasets = {s.config.datasets[0]}; }},
  };
  const std::string unchanged = Setting().key();
  EXPECT_EQ(unchanged.size(), 64u);
  EXPECT_EQ(Setting().key(), unchanged) << "another folder with the same files";
  std::set<std::string> keys = {unchanged};
  for (const auto& [name, change] : changes) {
    Setting setting;
    setting.prepare();
    change(setting);
    const PreparedData data = setting.prepare();
    EXPECT_FALSE(data.stats.from_cache) << name;
    EXPECT_TRUE(keys.insert(fs::path(data.stats.cache_path).filename().string()).second) << name;
  }
}

TEST(PreparedCache, KeysThatChangeNoRow_UseTheSameEntry) {
  Setting setting;
  setting.prepare();
  setting.config.sample_packing = true;
  setting.config.micro_batch_size = 8;
  setting.config.learning_rate = 1e-3;
  setting.config.output_dir = "elsewhere";
  EXPECT_TRUE(setting.prepare().stats.from_cache);
  setting.config.val_set_size = 0;
  setting.prepare();
  setting.config.seed = 5;  // nothing is drawn without a split
  EXPECT_TRUE(setting.prepare().stats.from_cache);
}

TEST(PreparedCache, DamagedEntry_IsBuiltAgainAndNoted) {
  const Setting setting;
  const PreparedData good = setting.prepare();
  const std::string rows = only_entry(setting) + "/rows.bin";
  const std::string bytes = TemporaryFolder::read(rows);
  std::string flipped = bytes;
  flipped[bytes.size() / 2] = static_cast<char>(flipped[bytes.size() / 2] ^ 1);
  for (const std::string& damaged :
       {flipped, bytes.substr(0, bytes.size() - 1), bytes.substr(0, 20), std::string("x"),
        std::string(), bytes + "x", std::string(bytes.size(), '\0')}) {
    std::ofstream(rows, std::ios::binary) << damaged;
    const PreparedData again = setting.prepare();
    EXPECT_FALSE(again.stats.from_cache);
    EXPECT_THAT(again.stats.note, HasSubstr("damaged"));
    EXPECT_EQ(again.train, good.train);
    EXPECT_TRUE(setting.prepare().stats.from_cache);
  }
  EXPECT_EQ(TemporaryFolder::read(rows), bytes);
}

TEST(PreparedCache, UnwritableFolder_IsANoteAndNoFailure) {
  Setting setting;
  // A file where the folder should be: fails for root, too, whom permissions do not stop.
  setting.config.dataset_prepared_path = setting.folder.write("prepared", "in the way");
  const PreparedData data = setting.prepare();
  EXPECT_FALSE(data.train.empty());
  EXPECT_THAT(data.stats.note, HasSubstr("not stored"));
  EXPECT_EQ(data.stats.cache_path, "");
}

TEST(PreparedCache, EmptyPath_StoresNothing) {
  Setting setting;
  setting.config.dataset_prepared_path.clear();
  EXPECT_EQ(setting.prepare().stats.cache_path, "");
  EXPECT_FALSE(setting.prepare().stats.from_cache);
}

TEST(PreparedCache, RunsSideBySide_AllGetTheSameRows) {
  const Setting setting;
  Setting alone;
  alone.config.dataset_prepared_path.clear();
  const PreparedData expected = alone.prepare();
  std::vector<std::thread> runs;
  std::vector<PreparedData> results(8);
  for (PreparedData& result : results) {
    runs.emplace_back([&setting, &result] {
      for (int i = 0; i < 10; ++i) result = setting.prepare();
    });
  }
  for (std::thread& run : runs) run.join();
  for (const PreparedData& result : results) {
    EXPECT_EQ(result.train, expected.train);
    EXPECT_EQ(result.stats.note, "");
  }
  EXPECT_TRUE(setting.prepare().stats.from_cache);
  int num_files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(only_entry(setting)))
    ++num_files;
  EXPECT_EQ(num_files, 2) << "files written aside were left behind";
}

TEST(PreparedBytes, AnySample_ComesBackAsItWas) {
  PreparedData data;
  data.train = {{{1, 2, 3}, {-100, 2, 3}}, {{4, 5}, {9, -100}}, {{}, {}}};
  data.validation = {{std::vector<int32_t>(17, 70000), std::vector<int32_t>(17, 70000)}};
  data.stats.num_rows = 12;
  data.stats.num_dropped_untrainable = 3;
  data.stats.longest = 17;
  const auto back = unpack_prepared(pack_prepared(data));
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->train, data.train);
  EXPECT_EQ(back->validation, data.validation);
  EXPECT_EQ(back->stats.num_rows, 12);
  EXPECT_EQ(back->stats.num_dropped_untrainable, 3);
  EXPECT_EQ(back->stats.longest, 17);
}

}  // namespace tune
