// chat_template rows: a conversation rendered as one text, tokenized once, and the tokens of the
// trained turns found in it.
#include <algorithm>
#include <set>

#include "tune/data/chat_template.h"
#include "tune/data/row_format.h"
#include "tune/data/text_positions.h"
#include "tune/error.h"

namespace tune {
namespace {

std::string mapped_name(const DatasetConfig& dataset, const std::string& property) {
  const auto found = dataset.message_property_mappings.find(property);
  return found == dataset.message_property_mappings.end() ? property : found->second;
}

// The names of data sets in the ShareGPT style, as Axolotl maps them.
std::string common_role(const std::string& role) {
  if (role == "human") return "user";
  if (role == "gpt") return "assistant";
  return role;
}

class ChatFormat : public RowFormat {
 public:
  ChatFormat(const DatasetConfig& dataset, const Config& config, const Tokenizer& tokenizer)
      : tokenizer_(tokenizer),
        template_(dataset.chat_template.empty() ? config.chat_template : dataset.chat_template,
                  tokenizer),
        messages_field_(dataset.field_messages),
        role_field_(mapped_name(dataset, "role")),
        content_field_(mapped_name(dataset, "content")),
        trained_roles_(dataset.roles_to_train.begin(), dataset.roles_to_train.end()),
        train_on_eos_(dataset.train_on_eos),
        trains_all_(config.train_on_inputs) {
    static const std::set<std::string> kChoices = {"all", "turn", "last", "none"};
    if (!kChoices.contains(train_on_eos_)) {
      throw UsageError("train_on_eos: \"" + train_on_eos_ +
                       "\" is not known; write all, turn, last or none");
    }
  }

  std::vector<Sample> samples(const Row& row) const override {
    const std::vector<ChatMessage> messages = read_messages(row);
    const RenderedChat chat = render(row, messages);
    Sample sample;
    sample.input_ids = tokenizer_.encode(chat.text, /*add_special_tokens=*/false);
    sample.labels.assign(sample.input_ids.size(), kIgnoreLabel);
    mark_trained(messages, chat, sample);
    return {std::move(sample)};
  }

  std::string fingerprint() const override { return template_.fingerprint(); }

 private:
  const std::string& message_text(const Row& row, const nlohmann::json& message,
                                  const std::string& field, const std::string& name) const {
    const auto found = message.find(field);
    if (found == message.end()) {
      row.fail(name + " has no \"" + field + "\"; its fields are: " + list_fields(message) +
               " (message_property_mappings says which to use)");
    }
    if (!found->is_string()) {
      row.fail(name + "." + field + " must be a string; it is " + describe_type(*found));
    }
    return found->get_ref<const std::string&>();
  }

  std::vector<ChatMessage> read_messages(const Row& row) const {
    std::vector<ChatMessage> messages;
    for (const nlohmann::json& message : row.array(messages_field_)) {
      const std::string name = messages_field_ + "[" + std::to_string(messages.size()) + "]";
      if (!message.is_object()) {
        row.fail(name + " must be an object with role and content; it is " +
                 describe_type(message));
      }
      messages.push_back({common_role(message_text(row, message, role_field_, name)),
                          message_text(row, message, content_field_, name)});
    }
    return messages;
  }

  RenderedChat render(const Row& row, const std::vector<ChatMessage>& messages) const {
    try {
      return template_.render(messages, /*add_generation_prompt=*/false);
    } catch (const UsageError& error) {
      row.fail(messages_field_ + ": " + error.what());
    }
  }

  void mark_trained(const std::vector<ChatMessage>& messages, const RenderedChat& chat,
                    Sample& sample) const {
    const std::vector<TokenSpan> spans = locate_messages(chat, sample.input_ids, tokenizer_);
    const auto mark = [&sample](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) sample.labels[i] = sample.input_ids[i];
    };
    const TokenSpan* last_trained = nullptr;
    for (size_t i = 0; i < messages.size(); ++i) {
      const bool is_trained = trains_all_ || trained_roles_.contains(messages[i].role);
      if (is_trained) {
        mark(spans[i].content_begin, spans[i].content_end);
        last_trained = &spans[i];
      }
      if (train_on_eos_ == "all" || (train_on_eos_ == "turn" && is_trained)) {
        mark(spans[i].content_end, spans[i].end);
      }
    }
    if (train_on_eos_ == "last" && last_trained != nullptr) {
      mark(last_trained->content_end, last_trained->end);
    }
  }

  const Tokenizer& tokenizer_;
  ChatTemplate template_;
  std::string messages_field_, role_field_, content_field_;
  std::set<std::string> trained_roles_;
  std::string train_on_eos_;
  bool trains_all_;
};

}  // namespace

std::unique_ptr<RowFormat> make_chat_format(const DatasetConfig& dataset, const Config& config,
                                            const Tokenizer& tokenizer) {
  return std::make_unique<ChatFormat>(dataset, config, tokenizer);
}

}  // namespace tune
