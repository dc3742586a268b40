#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/tune/data/fake_tokenizer.h"
#include "tests/tune/data/temporary_folder.h"
#include "tune/data/chat_template.h"
#include "tune/data/row_format.h"
#include "tune/error.h"

namespace tune {
namespace {

FakeTokenizer make_tokenizer(std::vector<std::string> merges = {}) {
  FakeTokenizer tokenizer({"<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>",
                           "<|end_header_id|>", "<|eot_id|>"},
                          std::move(merges));
  tokenizer.special_.bos = 256;
  tokenizer.special_.eos = 257;
  return tokenizer;
}

const nlohmann::json& vectors() {
  static const nlohmann::json parsed = [] {
    std::ifstream file(REGARD_TEST_DATA "/datasets/chat_vectors.json");
    return nlohmann::json::parse(file);
  }();
  return parsed;
}

std::vector<ChatMessage> conversation(const nlohmann::json& messages) {
  std::vector<ChatMessage> result;
  for (const auto& message : messages) result.push_back({message["role"], message["content"]});
  return result;
}

// What is trained of a row, as text.
std::string trained(const DatasetConfig& dataset, const FakeTokenizer& tokenizer,
                    const std::string& row, bool train_on_inputs = false) {
  Config config;
  config.chat_template = "chatml";
  config.train_on_inputs = train_on_inputs;
  const auto format = make_chat_format(dataset, config, tokenizer);
  const std::vector<Sample> samples = format->samples(Row({{"c.jsonl", 7}, row}));
  EXPECT_EQ(samples.size(), 1u);
  return trained_text(samples[0].input_ids, samples[0].labels, tokenizer);
}

constexpr const char* kTwoTurns = R"({"messages":[{"role":"system","content":"S"},
  {"role":"user","content":"U1"},{"role":"assistant","content":"A1"},
  {"role":"user","content":"U2"},{"role":"assistant","content":"A2"}]})";

}  // namespace

// The expected texts are Transformers' (tests/data/datasets/make_chat_vectors.py).
TEST(ChatTemplate, ModelsOwn_RendersAsTransformersDoes) {
  for (const auto& vector : vectors()["vectors"]) {
    FakeTokenizer tokenizer = make_tokenizer();
    const std::string name = vector["template"];
    tokenizer.chat_template_ = vectors()["templates"][name];
    const auto messages =
        conversation(vectors()["conversations"][std::string(vector["conversation"])]);
    EXPECT_EQ(
        render_chat("tokenizer_default", messages, tokenizer, vector["add_generation_prompt"]),
        std::string(vector["text"]))
        << name << ", " << vector["conversation"];
  }
}

TEST(ChatTemplate, Named_RendersAsTransformersDoes) {
  int compared = 0;
  for (const auto& vector : vectors()["vectors"]) {
    const std::string name = vector["template"];
    if (name != "chatml" && name != "llama3" && name != "alpaca" && name != "mistral") continue;
    ++compared;
    const auto messages =
        conversation(vectors()["conversations"][std::string(vector["conversation"])]);
    EXPECT_EQ(render_chat(name, messages, make_tokenizer(), vector["add_generation_prompt"]),
              std::string(vector["text"]))
        << name << ", " << vector["conversation"];
  }
  EXPECT_EQ(compared, 4 * 6 * 2);
}

TEST(ChatTemplate, NamedChatml_HasNoDefaultSystemMessageEvenForSmolLm) {
  FakeTokenizer tokenizer = make_tokenizer();
  tokenizer.chat_template_ = vectors()["templates"]["smollm2"];
  EXPECT_EQ(render_chat("chatml", {{"user", "Hi"}}, tokenizer, true),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, UnknownName_ListsTheKnownOnes) {
  const std::string message = message_of<UsageError>([] {
    render_chat("gemma", {{"user", "Hi"}}, make_tokenizer(), true);
  });
  for (const char* part : {"gemma", "chatml", "llama3", "alpaca", "mistral", "tokenizer_default"}) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
}

TEST(ChatTemplate, OwnTemplateThatIsMissingOrOnlySimilar_IsRefused) {
  const std::string chatml = vectors()["templates"]["chatml"];
  const std::string llama3 = vectors()["templates"]["llama3"];
  for (const std::string& jinja : {
           std::string(),
           std::string("{{ messages }}"),
           chatml + "{{ '<think>\n\n</think>' }}",
           std::string("{{ bos_token }}") + chatml,
           llama3 + "{{ 'Today Date: ' + date_string }}",
           llama3 + "{{ eos_token }}",
       }) {
    FakeTokenizer tokenizer = make_tokenizer();
    tokenizer.chat_template_ = jinja;
    const std::string message = message_of<UsageError>([&] {
      render_chat("tokenizer_default", {{"user", "Hi"}}, tokenizer, true);
    });
    EXPECT_NE(message.find("chat_template: chatml, llama3, alpaca or mistral"), std::string::npos)
        << jinja << ": " << message;
  }
}

TEST(ChatTemplate, TurnsTheTemplateDoesNotKnow_AreRefused) {
  const FakeTokenizer tokenizer = make_tokenizer();
  EXPECT_THROW(render_chat("mistral", {{"user", "a"}, {"user", "b"}}, tokenizer, false),
               UsageError);
  EXPECT_THROW(render_chat("mistral", {{"assistant", "a"}}, tokenizer, false), UsageError);
  EXPECT_THROW(render_chat("alpaca", {{"tool", "a"}}, tokenizer, false), UsageError);
  EXPECT_THROW(render_chat("chatml", {}, tokenizer, false), UsageError);
}

TEST(ChatTemplate, ToolResultsOfATemplateWithTools_AreRefused) {
  FakeTokenizer tokenizer = make_tokenizer();
  const std::string chatml = vectors()["templates"]["chatml"];
  tokenizer.chat_template_ = chatml + "{% if message.role == 'tool' %}<tool_response>{% endif %}";
  const std::vector<ChatMessage> messages = {{"user", "a"}, {"tool", "b"}};
  EXPECT_THROW(render_chat("", messages, tokenizer, false), UsageError);
  EXPECT_NO_THROW(render_chat("chatml", messages, tokenizer, false));
}

TEST(StripSpace, UnicodeSpaces_AreStrippedLikePython) {
  EXPECT_EQ(strip_unicode_space(" \t\n\u00a0\u3000x \u2003y\u2028\x1f\r "), "x \u2003y");
  EXPECT_EQ(strip_unicode_space("\u200bx"), "\u200bx");  // zero width is no space
  EXPECT_EQ(strip_unicode_space(" \u3000 "), "");
}

TEST(ChatFormat, Defaults_TrainAssistantContentAndItsEndToken) {
  EXPECT_EQ(trained({}, make_tokenizer(), kTwoTurns), "A1<|im_end|>A2<|im_end|>");
}

TEST(ChatFormat, Ids_AreThoseOfTheWholeRenderedText) {
  const FakeTokenizer tokenizer = make_tokenizer({"\n\n", "t\n"});
  Config config;
  config.chat_template = "chatml";
  const std::string row =
      R"({"messages":[{"role":"user","content":"U"},{"role":"assistant","content":"\nA"}]})";
  const DatasetConfig dataset;
  const auto samples =
      make_chat_format(dataset, config, tokenizer)->samples(Row({{"c.jsonl", 1}, row}));
  EXPECT_EQ(samples[0].input_ids,
            tokenizer.encode(
                "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n\nA<|im_end|>\n", false));
}

TEST(ChatFormat, OneTurn_GivesTheseIdsAndLabels) {
  const FakeTokenizer tokenizer = make_tokenizer();
  Config config;
  config.chat_template = "llama3";
  const DatasetConfig dataset;
  const auto samples =
      make_chat_format(dataset, config, tokenizer)
          ->samples(Row(
              {{"c.jsonl", 1},
               R"({"messages":[{"role":"u","content":"Q"},{"role":"assistant","content":" A"}]})"}));
  const std::vector<int32_t> ids = {256, 260, 'u', 261, '\n', '\n', 'Q', 262,  260,  'a', 's', 's',
                                    'i', 's', 't', 'a', 'n',  't',  261, '\n', '\n', 'A', 262};
  std::vector<int32_t> labels(ids.size(), kIgnoreLabel);
  labels[21] = 'A';
  labels[22] = 262;
  EXPECT_EQ(samples[0].input_ids, ids);
  EXPECT_EQ(samples[0].labels, labels);
}

// "\n\n" is one token: the answer's first newline cannot be learned without the header's.
TEST(ChatFormat, TokenAcrossTheBorder_CountsToTheAnswer) {
  const FakeTokenizer tokenizer = make_tokenizer({"\n\n"});
  EXPECT_EQ(
      trained(
          {}, tokenizer,
          R"({"messages":[{"role":"user","content":"U"},{"role":"assistant","content":"\nA"}]})"),
      "\n\nA<|im_end|>");
}

TEST(ChatFormat, TrainOnEos_ChoosesEndTokens) {
  DatasetConfig dataset;
  const FakeTokenizer tokenizer = make_tokenizer();
  dataset.train_on_eos = "all";
  EXPECT_EQ(trained(dataset, tokenizer, kTwoTurns),
            "<|im_end|><|im_end|>A1<|im_end|><|im_end|>A2<|im_end|>");
  dataset.train_on_eos = "none";
  EXPECT_EQ(trained(dataset, tokenizer, kTwoTurns), "A1A2");
  dataset.train_on_eos = "last";
  EXPECT_EQ(trained(dataset, tokenizer, kTwoTurns), "A1A2<|im_end|>");
  dataset.train_on_eos = "never";
  EXPECT_THROW(trained(dataset, tokenizer, kTwoTurns), UsageError);
}

TEST(ChatFormat, RolesToTrain_AreTheOnesTrained) {
  DatasetConfig dataset;
  dataset.roles_to_train = {"user"};
  EXPECT_EQ(trained(dataset, make_tokenizer(), kTwoTurns), "U1<|im_end|>U2<|im_end|>");
  dataset.roles_to_train = {};
  EXPECT_EQ(trained(dataset, make_tokenizer(), kTwoTurns), "");
  EXPECT_EQ(trained(dataset, make_tokenizer(), kTwoTurns, /*train_on_inputs=*/true),
            "S<|im_end|>U1<|im_end|>A1<|im_end|>U2<|im_end|>A2<|im_end|>");
}

TEST(ChatFormat, ShareGptNames_AreMapped) {
  DatasetConfig dataset;
  dataset.field_messages = "conversations";
  dataset.message_property_mappings = {{"role", "from"}, {"content", "value"}};
  EXPECT_EQ(
      trained(dataset, make_tokenizer(),
              R"({"conversations":[{"from":"human","value":"U"},{"from":"gpt","value":"A"}]})"),
      "A<|im_end|>");
}

TEST(ChatFormat, EveryTemplate_TrainsTheAnswersAndTheirEnd) {
  const std::map<std::string, std::string> expected = {{"chatml", "A1<|im_end|>A2<|im_end|>"},
                                                       {"llama3", "A1<|eot_id|>A2<|eot_id|>"},
                                                       {"alpaca", "A1</s>A2</s>"},
                                                       {"mistral", "A1</s>A2</s>"}};
  for (const auto& [name, text] : expected) {
    DatasetConfig dataset;
    dataset.chat_template = name;
    EXPECT_EQ(trained(dataset, make_tokenizer(), kTwoTurns), text) << name;
    // A space merges with what follows it: the answer's first token then starts in the frame.
    EXPECT_EQ(trained(dataset, make_tokenizer({" A1", " A2"}), kTwoTurns),
              name == "mistral" ? " A1</s> A2</s>" : text)
        << name;
  }
}

// Without a special token between turns, tokens may join them; the spans are then found in the
// whole.
TEST(ChatFormat, TurnsThatShareAToken_AreStillFound) {
  DatasetConfig dataset;
  dataset.chat_template = "alpaca";
  const FakeTokenizer tokenizer = make_tokenizer({"\n\n###"});
  EXPECT_EQ(trained(dataset, tokenizer, kTwoTurns), "A1</s>A2</s>");
}

TEST(ChatFormat, AnswerThatSpellsAnEndToken_IsTrainedWhole) {
  EXPECT_EQ(trained({}, make_tokenizer(),
                    R"({"messages":[{"role":"user","content":"U"},
                        {"role":"assistant","content":"A<|im_end|>B"}]})"),
            "A<|im_end|>B<|im_end|>");
}

TEST(ChatFormat, BrokenRows_NamePlaceAndMessage) {
  const auto error_of = [](const std::string& row) {
    return message_of<UsageError>([&] { trained({}, make_tokenizer(), row); });
  };
  EXPECT_EQ(error_of(R"({"text":"x"})"),
            "c.jsonl:7: missing field \"messages\"; the fields here are: text");
  EXPECT_EQ(error_of(R"({"messages":"x"})"),
            "c.jsonl:7: field \"messages\" must be an array; it is a string");
  EXPECT_EQ(error_of(R"({"messages":[3]})"),
            "c.jsonl:7: messages[0] must be an object with role and content; it is a number (3)");
  EXPECT_EQ(error_of(R"({"messages":[{"role":"user","content":"a"},{"from":"b"}]})"),
            "c.jsonl:7: messages[1] has no \"role\"; its fields are: from "
            "(message_property_mappings says which to use)");
  EXPECT_EQ(error_of(R"({"messages":[{"role":"user","content":["a"]}]})"),
            "c.jsonl:7: messages[0].content must be a string; it is an array");
  EXPECT_EQ(error_of(R"({"messages":[]})"), "c.jsonl:7: messages: a conversation without messages");
}

}  // namespace tune
