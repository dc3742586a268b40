#include "tune/tokenizer/post_processor.h"

#include <string>
#include <string_view>

namespace tune {
namespace {

constexpr std::string_view kSupported =
    "TemplateProcessing, ByteLevel, RobertaProcessing, BertProcessing, Sequence";

std::vector<int32_t> special_token_ids(const JsonNode& special_tokens, const std::string& name) {
  if (!special_tokens.has(name.c_str())) {
    special_tokens.fail("the template names '" + name + "', which is not listed here");
  }
  std::vector<int32_t> out;
  for (const JsonNode& id : special_tokens.child(name.c_str()).child("ids").items()) {
    out.push_back(id.token_id());
  }
  return out;
}

// {"single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}], "special_tokens": ...}
PostProcessor make_template(const JsonNode& node) {
  PostProcessor out;
  int num_sequences = 0;
  const JsonNode single = node.child("single");
  for (const JsonNode& item : single.items()) {
    if (item.has("Sequence")) {
      ++num_sequences;
      continue;
    }
    if (!item.has("SpecialToken")) item.fail("must be a SpecialToken or a Sequence");
    const auto ids =
        special_token_ids(node.child("special_tokens"), item.child("SpecialToken").text("id"));
    auto& side = num_sequences == 0 ? out.before : out.after;
    side.insert(side.end(), ids.begin(), ids.end());
  }
  if (num_sequences != 1) {
    single.fail("has " + std::to_string(num_sequences) + " sequences; exactly one is supported");
  }
  return out;
}

// "cls": ["<s>", 0], "sep": ["</s>", 2]
PostProcessor make_cls_sep(const JsonNode& node) {
  const auto id_of = [&](const char* key) {
    const auto items = node.child(key).items();
    if (items.size() != 2) node.child(key).fail("must be [text, id]");
    return items[1].token_id();
  };
  return {{id_of("cls")}, {id_of("sep")}};
}

}  // namespace

PostProcessor make_post_processor(const JsonNode& node) {
  if (node.is_null()) return {};
  const std::string type = node.type();
  if (type == "ByteLevel") return {};  // it only trims offsets
  if (type == "TemplateProcessing") return make_template(node);
  if (type == "RobertaProcessing" || type == "BertProcessing") return make_cls_sep(node);
  if (type == "Sequence") {
    PostProcessor out;
    for (const JsonNode& item : node.child("processors").items()) {
      if (item.is_null()) item.fail("must be an object with 'type'");
      const PostProcessor step = make_post_processor(item);
      out.before.insert(out.before.begin(), step.before.begin(), step.before.end());
      out.after.insert(out.after.end(), step.after.begin(), step.after.end());
    }
    return out;
  }
  node.unsupported(type, kSupported);
}

}  // namespace tune
