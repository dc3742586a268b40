#include "tune/data/chat_template.h"

#include <array>
#include <utility>

#include "tune/error.h"

namespace tune {
namespace {

// Appends a message's parts and records where they are.
void append_turn(RenderedChat& chat, std::string_view header, std::string_view content,
                 std::string_view end_marker, std::string_view after) {
  RenderedChat::Span span;
  span.begin = chat.text.size();
  chat.text += header;
  span.content_begin = chat.text.size();
  chat.text += content;
  span.content_end = chat.text.size();
  chat.text += end_marker;
  span.end = chat.text.size();
  chat.text += after;
  chat.messages.push_back(span);
}

std::string token_or_empty(const Tokenizer& tokenizer, std::optional<int32_t> id) {
  return id ? std::string(tokenizer.token_text(*id)) : std::string();
}

size_t space_length_at_front(std::string_view text) {
  static constexpr std::array<std::string_view, 19> kWideSpaces = {
      "\u0085", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003",
      "\u2004", "\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200a",
      "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"};
  const char c = text.front();
  if (c == ' ' || (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= '\x1f')) return 1;
  for (std::string_view space : kWideSpaces) {
    if (text.starts_with(space)) return space.size();
  }
  return 0;
}

size_t space_length_at_back(std::string_view text) {
  for (size_t length = 1; length <= 3 && length <= text.size(); ++length) {
    const std::string_view tail = text.substr(text.size() - length);
    if (space_length_at_front(tail) == length) return length;
  }
  return 0;
}

}  // namespace

std::string_view strip_unicode_space(std::string_view text) {
  while (!text.empty()) {
    const size_t length = space_length_at_front(text);
    if (length == 0) break;
    text.remove_prefix(length);
  }
  while (!text.empty()) {
    const size_t length = space_length_at_back(text);
    if (length == 0) break;
    text.remove_suffix(length);
  }
  return text;
}

ChatTemplate::ChatTemplate(const std::string& name, const Tokenizer& tokenizer)
    : bos_(token_or_empty(tokenizer, tokenizer.special().bos)),
      eos_(token_or_empty(tokenizer, tokenizer.special().eos)) {
  if (!name.empty() && name != "tokenizer_default") {
    choose_by_name(name);
    return;
  }
  const std::string& jinja = tokenizer.chat_template();
  if (jinja.empty()) {
    throw UsageError(
        "the model has no chat template of its own; write chat_template: chatml, llama3, alpaca or "
        "mistral");
  }
  if (!recognise(jinja)) {
    throw UsageError(
        "the model's own chat template is none of those Regard can render exactly; write "
        "chat_template: chatml, llama3, alpaca or mistral");
  }
}

void ChatTemplate::choose_by_name(const std::string& name) {
  if (name == "chatml") {
    family_ = Family::chatml;
  } else if (name == "llama3") {
    family_ = Family::llama3;
  } else if (name == "alpaca") {
    family_ = Family::alpaca;
  } else if (name == "mistral") {
    family_ = Family::mistral;
    user_open_ = " [INST] ";
    user_close_ = " [/INST]";
    assistant_open_ = " ";
  } else {
    throw UsageError("chat_template: \"" + name +
                     "\" is not known; write chatml, llama3, alpaca, mistral or "
                     "tokenizer_default (the model's own)");
  }
}

RenderedChat ChatTemplate::render(const std::vector<ChatMessage>& messages,
                                  bool add_generation_prompt) const {
  if (messages.empty()) throw UsageError("a conversation without messages");
  switch (family_) {
    case Family::llama3:
      return render_llama3(messages, add_generation_prompt);
    case Family::alpaca:
      return render_alpaca_chat(messages, add_generation_prompt);
    case Family::mistral:
      return render_mistral(messages);
    default:
      return render_chatml(messages, add_generation_prompt);
  }
}

RenderedChat ChatTemplate::render_chatml(const std::vector<ChatMessage>& messages,
                                         bool prompt) const {
  RenderedChat chat;
  if (!default_system_.empty() && messages.front().role != "system") {
    chat.text.append("<|im_start|>system\n").append(default_system_).append("<|im_end|>\n");
  }
  for (const ChatMessage& message : messages) {
    if (refuses_tools_ && message.role == "tool") {
      throw UsageError(
          "tool results are not rendered by Regard as the model's own template renders them; write "
          "chat_template: chatml to train with plain ones");
    }
    append_turn(chat, "<|im_start|>" + message.role + "\n", message.content, "<|im_end|>", "\n");
  }
  if (prompt) chat.text += "<|im_start|>assistant\n";
  return chat;
}

RenderedChat ChatTemplate::render_llama3(const std::vector<ChatMessage>& messages,
                                         bool prompt) const {
  RenderedChat chat;
  chat.text = bos_;
  for (const ChatMessage& message : messages) {
    append_turn(chat, "<|start_header_id|>" + message.role + "<|end_header_id|>\n\n",
                strip_unicode_space(message.content), "<|eot_id|>", "");
  }
  if (prompt) chat.text += "<|start_header_id|>assistant<|end_header_id|>\n\n";
  return chat;
}

RenderedChat ChatTemplate::render_alpaca_chat(const std::vector<ChatMessage>& messages,
                                              bool prompt) const {
  RenderedChat chat;
  chat.text = bos_;
  for (size_t i = 0; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    const std::string_view after = i + 1 < messages.size() ? "\n\n" : "";
    if (message.role == "system" && i == 0) {
      append_turn(chat, "", message.content, "", after);
    } else if (message.role == "user") {
      append_turn(chat, "### Instruction:\n", message.content, "", after);
    } else if (message.role == "assistant") {
      append_turn(chat, "### Response:\n", message.content, eos_, after);
    } else {
      throw UsageError("role \"" + message.role +
                       "\" has no place in the alpaca template; it takes one system message in "
                       "front, then user and assistant");
    }
  }
  if (prompt) chat.text += "\n\n### Response:\n";
  return chat;
}

RenderedChat ChatTemplate::render_mistral(const std::vector<ChatMessage>& messages) const {
  const bool has_system = messages.front().role == "system";
  if (has_system && !takes_system_) {
    throw UsageError("the model's own template takes no system message");
  }
  RenderedChat chat;
  chat.text = bos_;
  if (has_system) chat.messages.emplace_back();
  const size_t first = has_system ? 1 : 0;
  const size_t system_turn = system_goes_last_ ? messages.size() - 1 : first;
  for (size_t i = first; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    const bool is_users_turn = (i - first) % 2 == 0;
    if (message.role != (is_users_turn ? "user" : "assistant")) {
      throw UsageError("role \"" + message.role +
                       "\" out of turn: the mistral template takes one system message in front, "
                       "then user and assistant alternating");
    }
    if (is_users_turn) {
      std::string header(user_open_);
      if (has_system && i == system_turn) header += messages.front().content + "\n\n";
      append_turn(chat, header, message.content, "", user_close_);
    } else {
      const std::string_view content =
          trims_assistant_ ? strip_unicode_space(message.content) : message.content;
      append_turn(chat, assistant_open_, content, eos_, "");
    }
  }
  return chat;
}

std::string ChatTemplate::fingerprint() const {
  std::string text = std::to_string(static_cast<int>(family_));
  for (std::string_view part :
       {std::string_view(bos_), std::string_view(eos_), std::string_view(default_system_),
        user_open_, user_close_, assistant_open_}) {
    text.append(std::to_string(part.size())).append(":").append(part);
  }
  for (bool flag : {system_goes_last_, trims_assistant_, takes_system_}) text += flag ? '1' : '0';
  return text;
}

std::string render_chat(const std::string& template_name, const std::vector<ChatMessage>& messages,
                        const Tokenizer& tokenizer, bool add_generation_prompt) {
  return ChatTemplate(template_name, tokenizer).render(messages, add_generation_prompt).text;
}

}  // namespace tune
