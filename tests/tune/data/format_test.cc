#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tune/data/fake_tokenizer.h"
#include "tests/tune/data/temporary_folder.h"
#include "tune/data/dataset.h"
#include "tune/data/row_format.h"
#include "tune/error.h"

namespace tune {
namespace {

using testing::ElementsAre;

// 256 = BOS, 257 = EOS.
FakeTokenizer make_tokenizer(bool adds_bos) {
  FakeTokenizer tokenizer({"<s>", "</s>"});
  tokenizer.special_.bos = 256;
  tokenizer.special_.eos = 257;
  tokenizer.adds_bos = adds_bos;
  return tokenizer;
}

std::vector<Sample> samples_of(const std::string& type, const std::string& row,
                               const FakeTokenizer& tokenizer, const Config& config = {}) {
  DatasetConfig dataset;
  dataset.type = type;
  return make_row_format(dataset, config, tokenizer)->samples(Row({{"d.jsonl", 3}, row}));
}

std::string error_of(const std::string& type, const std::string& row) {
  return message_of<UsageError>([&] { samples_of(type, row, make_tokenizer(false)); });
}

std::vector<int32_t> bytes(std::string_view text) { return {text.begin(), text.end()}; }

}  // namespace

TEST(Alpaca, WithInput_IsTheStandardPrompt) {
  EXPECT_EQ(render_alpaca("Add.", "1, 2"),
            "Below is an instruction that describes a task, paired with an input that provides "
            "further context. Write a response that appropriately completes the request.\n\n"
            "### Instruction:\nAdd.\n\n### Input:\n1, 2\n\n### Response:\n");
}

TEST(Alpaca, WithoutInput_IsTheShorterPrompt) {
  EXPECT_EQ(render_alpaca("Add.", ""),
            "Below is an instruction that describes a task. Write a response that appropriately "
            "completes the request.\n\n### Instruction:\nAdd.\n\n### Response:\n");
}

TEST(AlpacaFormat, Row_MasksThePromptAndTrainsTheAnswerWithItsEos) {
  const FakeTokenizer tokenizer = make_tokenizer(false);
  for (const char* row : {R"({"instruction":"I","output":"ok"})",
                          R"({"instruction":"I","input":null,"output":"ok","extra":1})",
                          R"({"instruction":"I","input":"","output":"ok</s>"})"}) {
    const auto samples = samples_of("alpaca", row, tokenizer);
    ASSERT_EQ(samples.size(), 1u);
    std::vector<int32_t> ids = bytes(render_alpaca("I", ""));
    std::vector<int32_t> labels(ids.size(), kIgnoreLabel);
    for (int32_t id : {'o' + 0, 'k' + 0, 257}) {
      ids.push_back(id);
      labels.push_back(id);
    }
    EXPECT_EQ(samples[0].input_ids, ids) << row;
    EXPECT_EQ(samples[0].labels, labels) << row;
    EXPECT_EQ(samples[0].num_trainable(), 3);
  }
}

TEST(AlpacaFormat, TokenizerWithBos_HasOneInFrontAndNoneInTheMiddle) {
  const FakeTokenizer tokenizer = make_tokenizer(true);
  const auto samples =
      samples_of("alpaca", R"({"instruction":"I","input":"x","output":"ok"})", tokenizer);
  std::vector<int32_t> ids = {256};
  for (int32_t id : bytes(render_alpaca("I", "x") + "ok")) ids.push_back(id);
  ids.push_back(257);
  EXPECT_EQ(samples[0].input_ids, ids);
  EXPECT_EQ(trained_text(samples[0].input_ids, samples[0].labels, tokenizer), "ok</s>");
}

TEST(AlpacaFormat, TrainOnInputs_TrainsEverything) {
  Config config;
  config.train_on_inputs = true;
  const auto samples =
      samples_of("alpaca", R"({"instruction":"I","output":"ok"})", make_tokenizer(false), config);
  EXPECT_EQ(samples[0].labels, samples[0].input_ids);
}

TEST(AlpacaFormat, EmptyAnswer_TrainsNothing) {
  const auto samples =
      samples_of("alpaca", R"({"instruction":"I","output":""})", make_tokenizer(false));
  EXPECT_EQ(samples[0].num_trainable(), 0);
}

TEST(AlpacaFormat, MissingField_NamesPlaceAndFields) {
  EXPECT_EQ(error_of("alpaca", R"({"instruction":"I","response":"x"})"),
            "d.jsonl:3: missing field \"output\"; the fields here are: instruction, response");
  EXPECT_EQ(error_of("alpaca", R"({"instruction":"I","input":[],"output":"x"})"),
            "d.jsonl:3: field \"input\" must be a string; it is an array");
}

TEST(CompletionFormat, ShortText_IsTrainedWholeWithEos) {
  const auto samples = samples_of("completion", R"({"text":"abc"})", make_tokenizer(true));
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_THAT(samples[0].input_ids, ElementsAre(256, 'a', 'b', 'c', 257));
  EXPECT_EQ(samples[0].labels, samples[0].input_ids);
}

TEST(CompletionFormat, LongText_IsCutIntoPiecesOfSequenceLen) {
  Config config;
  config.sequence_len = 4;
  const auto samples =
      samples_of("completion", R"({"text":"abcdefghi"})", make_tokenizer(false), config);
  ASSERT_EQ(samples.size(), 3u);
  EXPECT_THAT(samples[0].input_ids, ElementsAre('a', 'b', 'c', 'd'));
  EXPECT_THAT(samples[1].input_ids, ElementsAre('e', 'f', 'g', 'h'));
  EXPECT_THAT(samples[2].input_ids, ElementsAre('i', 257));
}

TEST(CompletionFormat, Field_IsTheOneNamed) {
  DatasetConfig dataset;
  dataset.type = "completion";
  dataset.field = "body";
  const FakeTokenizer tokenizer = make_tokenizer(false);
  const Config config;
  const auto format = make_row_format(dataset, config, tokenizer);
  EXPECT_THAT(format->samples(Row({{"d.jsonl", 1}, R"({"body":"x"})"}))[0].input_ids,
              ElementsAre('x', 257));
  EXPECT_THROW(format->samples(Row({{"d.jsonl", 1}, R"({"text":"x"})"})), UsageError);
}

TEST(InputOutputFormat, Segments_AreJoinedAsTheyAre) {
  const std::string row = R"({"segments":[{"label":true,"text":"<s>a"},
    {"label":false,"text":"bc"},{"label":true,"text":"d</s>"},{"label":true,"text":""}]})";
  const auto samples = samples_of("input_output", row, make_tokenizer(true));
  EXPECT_THAT(samples[0].input_ids, ElementsAre(256, 'a', 'b', 'c', 'd', 257));
  EXPECT_THAT(samples[0].labels, ElementsAre(256, 'a', -100, -100, 'd', 257));
  Config config;
  config.train_on_inputs = true;
  EXPECT_EQ(samples_of("input_output", row, make_tokenizer(true), config)[0].labels,
            samples[0].input_ids);
}

TEST(InputOutputFormat, BrokenSegment_IsNamed) {
  EXPECT_EQ(error_of("input_output", R"({"segments":[{"label":true,"text":"a"},{"text":"b"}]})"),
            "d.jsonl:3: segments[1] needs \"label\": true or false; its fields are: text");
  EXPECT_EQ(error_of("input_output", R"({"segments":[{"label":1,"text":"b"}]})"),
            "d.jsonl:3: segments[0] needs \"label\": true or false; its fields are: label, text");
  EXPECT_EQ(error_of("input_output", R"({"segments":["a"]})"),
            "d.jsonl:3: segments[0] must be {\"label\": true or false, \"text\": ...}; it is a "
            "string");
}

TEST(PretokenizedFormat, Rows_AreTakenAsTheyAre) {
  const FakeTokenizer tokenizer = make_tokenizer(false);
  auto samples = samples_of("", R"({"input_ids":[1,2,3]})", tokenizer);
  EXPECT_THAT(samples[0].input_ids, ElementsAre(1, 2, 3));
  EXPECT_THAT(samples[0].labels, ElementsAre(1, 2, 3));
  samples = samples_of("", R"({"input_ids":[1,2,3],"labels":[-100,9,3],"length":3})", tokenizer);
  EXPECT_THAT(samples[0].labels, ElementsAre(-100, 9, 3));
  samples = samples_of(
      "", R"({"input_ids":[0,5,6,7,0,0],"attention_mask":[0,1,1,1,0,0],"labels":[4,5,-100,7,8,9]})",
      tokenizer);
  EXPECT_THAT(samples[0].input_ids, ElementsAre(5, 6, 7));
  EXPECT_THAT(samples[0].labels, ElementsAre(5, -100, 7));
}

TEST(PretokenizedFormat, BrokenRows_AreNamed) {
  EXPECT_EQ(error_of("", R"({"input_ids":[1,258]})"),
            "d.jsonl:3: input_ids[1] is 258; the tokenizer has ids 0 to 257");
  EXPECT_EQ(error_of("", R"({"input_ids":[-100]})"),
            "d.jsonl:3: input_ids[0] is -100; the tokenizer has ids 0 to 257");
  EXPECT_EQ(error_of("", R"({"input_ids":[1],"labels":[-1]})"),
            "d.jsonl:3: labels[0] is -1; the tokenizer has ids 0 to 257, and -100 means: not "
            "trained");
  EXPECT_EQ(error_of("", R"({"input_ids":[1.5]})"),
            "d.jsonl:3: input_ids[0] must be a whole number; it is a number (1.5)");
  EXPECT_EQ(error_of("", R"({"input_ids":[1,2],"labels":[1]})"),
            "d.jsonl:3: labels has 1 entries and input_ids 2; they must be equally many");
  EXPECT_EQ(error_of("", R"({"input_ids":[1,2],"attention_mask":[1]})"),
            "d.jsonl:3: attention_mask has 1 entries and input_ids 2; they must be equally many");
  EXPECT_EQ(error_of("", R"({"input_ids":[1,2,3],"attention_mask":[1,0,1]})"),
            "d.jsonl:3: attention_mask[1] is 0 between ones; only padding at the ends can be "
            "masked");
  EXPECT_EQ(error_of("", R"({"input_ids":[1,2],"attention_mask":[1,2]})"),
            "d.jsonl:3: attention_mask must hold 0 and 1 only");
}

TEST(RowFormat, UnknownType_ListsTheKnownOnes) {
  const std::string message = error_of("sharegpt", "{}");
  for (const char* part : {"sharegpt", "alpaca", "completion", "chat_template", "input_output"}) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
}

TEST(DescribeSample, Tokens_SayWhetherTheyAreTrained) {
  const FakeTokenizer tokenizer = make_tokenizer(false);
  const Sample sample{{256, 'a', 'b'}, {256, kIgnoreLabel, 'b'}};
  const std::vector<TokenLabel> tokens = describe_sample(sample, tokenizer);
  ASSERT_EQ(tokens.size(), 3u);
  EXPECT_EQ(tokens[0].text, "<s>");
  EXPECT_FALSE(tokens[0].is_trained);  // nothing predicts the first token
  EXPECT_FALSE(tokens[1].is_trained);
  EXPECT_TRUE(tokens[2].is_trained);
  EXPECT_EQ(tokens[2].id, 'b');
  EXPECT_EQ(tokens[1].label, kIgnoreLabel);
}

}  // namespace tune
