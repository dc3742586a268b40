// Recognises a model's own Jinja template. It is accepted only when the expression that renders a
// message is literally one of the known ones after spaces, quotes and ways of writing a subscript
// are made the same; a template that only resembles one (dates, thinking blocks) is refused, since
// a near miss would train on tokens the model never saw.
#include <utility>

#include "tune/data/chat_template.h"

namespace tune {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  std::string result;
  size_t begin = 0;
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, begin)) {
    result.append(text, begin, at - begin).append(to);
    begin = at + from.size();
  }
  text = result.append(text, begin);
}

// One spelling for all: 'single quotes', message['role'], real newlines, no spaces outside of
// literals that matter, adjacent literals joined.
std::string canonical_form(std::string_view jinja) {
  std::string text(jinja);
  replace_all(text, "\\n", "\n");
  replace_all(text, "\"", "'");
  replace_all(text, "message.role", "message['role']");
  replace_all(text, "message.content", "message['content']");
  replace_all(text, " + ", "+");
  replace_all(text, " +", "+");
  replace_all(text, "+ ", "+");
  replace_all(text, " | ", "|");
  replace_all(text, "'+'", "");
  return text;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// The literal between `open` and `close`, when it has neither quotes nor Jinja marks in it.
std::string literal_between(std::string_view text, std::string_view open, std::string_view close) {
  for (size_t at = text.find(open); at != std::string_view::npos; at = text.find(open, at + 1)) {
    const size_t begin = at + open.size();
    const size_t end = text.find(close, begin);
    if (end == std::string_view::npos) break;
    const std::string_view literal = text.substr(begin, end - begin);
    if (!literal.empty() && literal.find_first_of("'\"{}") == std::string_view::npos) {
      return std::string(literal);
    }
  }
  return {};
}

}  // namespace

bool ChatTemplate::recognise(std::string_view jinja) {
  const std::string canonical = canonical_form(jinja);
  for (std::string_view unknown : {"<think>", "strftime", "date_string", "reasoning_content"}) {
    if (contains(canonical, unknown)) return false;
  }
  if (recognise_chatml(canonical, jinja)) return true;
  if (contains(canonical, "'<|start_header_id|>'+message['role']+'<|end_header_id|>\n\n'+") &&
      contains(canonical, "'<|eot_id|>'") &&
      (contains(canonical, "+message['content']|trim+'<|eot_id|>'") ||
       contains(canonical, "+message_text+'<|eot_id|>'")) &&
      contains(canonical, "bos_token+content") && !contains(canonical, "eos_token")) {
    family_ = Family::llama3;
    return true;
  }
  if (contains(canonical, "'### Instruction:\n'+message['content'] }}") &&
      contains(canonical, "'### Response:\n'+message['content']+eos_token }}") &&
      contains(canonical, "bos_token")) {
    family_ = Family::alpaca;
    return true;
  }
  return recognise_mistral(canonical);
}

bool ChatTemplate::recognise_chatml(const std::string& canonical, std::string_view jinja) {
  if (!contains(canonical,
                "'<|im_start|>'+message['role']+'\n'+message['content']+'<|im_end|>\n'")) {
    return false;
  }
  // Anything that writes a begin-of-text token is not plain ChatML.
  if (contains(canonical, "bos_token")) return false;
  std::string text(jinja);
  replace_all(text, "\\n", "\n");
  default_system_ = literal_between(text, "<|im_start|>system\n", "<|im_end|>");
  refuses_tools_ = contains(canonical, "'tool'");
  family_ = Family::chatml;
  return true;
}

bool ChatTemplate::recognise_mistral(const std::string& canonical) {
  if (!contains(canonical, "[INST]") || contains(canonical, "<<SYS>>")) return false;
  const bool has_system = contains(canonical, "system_message+'\n\n'+");
  const bool writes_content = contains(canonical, "content+eos_token") ||
                              contains(canonical, "message['content']+eos_token") ||
                              contains(canonical, "content|trim+eos_token") ||
                              contains(canonical, "message['content']|trim+eos_token");
  if (!writes_content || !contains(canonical, "bos_token")) return false;
  const bool opens_with_space = contains(canonical, "' [INST] '+");
  const bool opens_plain = !opens_with_space && contains(canonical, "'[INST] '+");
  const bool opens_bare = !opens_with_space && !opens_plain && contains(canonical, "'[INST]'+");
  if (!opens_with_space && !opens_plain && !opens_bare) return false;
  family_ = Family::mistral;
  user_open_ = opens_with_space ? " [INST] " : opens_plain ? "[INST] " : "[INST]";
  user_close_ = contains(canonical, "' [/INST]'") ? " [/INST]" : "[/INST]";
  assistant_open_ = contains(canonical, "{{- ' '+") || contains(canonical, "{{ ' '+") ? " " : "";
  trims_assistant_ = contains(canonical, "|trim+eos_token");
  takes_system_ = has_system;
  system_goes_last_ = contains(canonical, "loop.last and system_message is defined");
  return true;
}

}  // namespace tune
