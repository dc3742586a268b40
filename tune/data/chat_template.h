// Conversations as text, by the templates this program knows. A template is a few literals around
// each message (no Jinja): every known one is compared with Transformers' rendering in the tests'
// vectors.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "tune/data/dataset.h"
#include "tune/tokenizer/tokenizer.h"

namespace tune {

// A conversation as one text, with the bytes of each message in it.
struct RenderedChat {
  // [begin, content_begin) header, [content_begin, content_end) the message's own words,
  // [content_end, end) the marker that ends the turn (empty where the template has none).
  // A message the template leaves out has begin == end.
  struct Span {
    size_t begin = 0, content_begin = 0, content_end = 0, end = 0;
  };
  std::string text;
  std::vector<Span> messages;
};

class ChatTemplate {
 public:
  // By name: chatml, llama3, alpaca, mistral, tokenizer_default (also ""). Throws UsageError for
  // another name, and for a model's own template that is none of these.
  ChatTemplate(const std::string& name, const Tokenizer& tokenizer);

  // Throws UsageError for a conversation that the template does not know (an unknown role, turns
  // that do not alternate); the message has no place, the caller adds it.
  RenderedChat render(const std::vector<ChatMessage>& messages, bool add_generation_prompt) const;

  // Everything the rendering depends on, as text for a cache key.
  std::string fingerprint() const;

 private:
  enum class Family : uint8_t { chatml, llama3, alpaca, mistral };

  void choose_by_name(const std::string& name);
  bool recognise(std::string_view jinja);
  bool recognise_chatml(const std::string& canonical, std::string_view jinja);
  bool recognise_mistral(const std::string& canonical);

  RenderedChat render_chatml(const std::vector<ChatMessage>& messages, bool prompt) const;
  RenderedChat render_llama3(const std::vector<ChatMessage>& messages, bool prompt) const;
  RenderedChat render_alpaca_chat(const std::vector<ChatMessage>& messages, bool prompt) const;
  RenderedChat render_mistral(const std::vector<ChatMessage>& messages) const;

  Family family_ = Family::chatml;
  std::string bos_, eos_;
  // chatml: put in front when the first message is no system message; empty = nothing.
  std::string default_system_;
  // chatml: the model's own template renders tool results in a way of its own.
  bool refuses_tools_ = false;
  // mistral: the three published forms differ in spaces and in where the system message goes.
  std::string_view user_open_, user_close_, assistant_open_;
  bool system_goes_last_ = false, trims_assistant_ = false, takes_system_ = true;
};

// Python's str.strip(), which Jinja's `trim` is.
std::string_view strip_unicode_space(std::string_view text);

}  // namespace tune
