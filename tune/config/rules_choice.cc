// Rules 1 to 9: which attention module a file chooses, and shifted sparse attention.
#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "tune/config/rules.h"
#include "tune/config/scalar.h"

namespace tune {
namespace {

using regard::Module;

std::string module_names() {
  std::string names;
  for (const regard::ModuleInfo& info : regard::modules()) {
    if (!names.empty()) names += ", ";
    names += info.name;
  }
  return names;
}

// Spellings that users and other programs have for a module, in lower case with '_' for '-'.
constexpr std::array<std::pair<std::string_view, std::string_view>, 37> kShortNames = {{
    {"sdp", "sdpa"},
    {"sdp_attention", "sdpa"},
    {"sdpa_attention", "sdpa"},
    {"scaled_dot_product_attention", "sdpa"},
    {"torch", "sdpa"},
    {"torch_sdpa", "sdpa"},
    {"default", "sdpa"},
    {"flash", "flash_attention_2"},
    {"flash2", "flash_attention_2"},
    {"flash_2", "flash_attention_2"},
    {"fa", "flash_attention_2"},
    {"fa2", "flash_attention_2"},
    {"flash_attn", "flash_attention_2"},
    {"flash_attn2", "flash_attention_2"},
    {"flash_attn_2", "flash_attention_2"},
    {"flash_attention", "flash_attention_2"},
    {"flash_attention2", "flash_attention_2"},
    {"flashattention", "flash_attention_2"},
    {"flash3", "flash_attention_3"},
    {"flash_3", "flash_attention_3"},
    {"fa3", "flash_attention_3"},
    {"flash_attn3", "flash_attention_3"},
    {"flash_attn_3", "flash_attention_3"},
    {"flash_attention3", "flash_attention_3"},
    {"flex", "flex_attention"},
    {"flex_attn", "flex_attention"},
    {"flexattention", "flex_attention"},
    {"sage_attention", "sage"},
    {"sage_attn", "sage"},
    {"sageattention", "sage"},
    {"xformer", "xformers"},
    {"xformers_attention", "xformers"},
    {"memory_efficient", "xformers"},
    {"s2_attention", "s2"},
    {"s2_attn", "s2"},
    {"shifted_sparse", "s2"},
    {"eager_attention", "eager"},
}};

// The canonical name behind a short or differently written one; empty when there is none.
std::string_view canonical_of(std::string name) {
  for (char& c : name) c = c == '-' ? '_' : static_cast<char>(std::tolower(uint8_t(c)));
  if (const std::optional<Module> module = regard::find_module(name)) {
    return regard::module_info(*module).name;
  }
  for (const auto& entry : kShortNames) {
    if (entry.first == name) return entry.second;
  }
  return {};
}

}  // namespace

std::string attn_implementation_fault(const YamlNode* node) {
  if (node == nullptr || node->is_null()) return {};
  const std::string list = "write one of " + module_names();
  if (node->kind != YamlNode::Kind::scalar || is_plain_boolean_or_number(*node)) {
    return "attn_implementation must be a name, not " +
           (node->kind == YamlNode::Kind::scalar ? node->text
                                                 : std::string(yaml_kind_name(*node))) +
           ": " + list;
  }
  if (regard::find_module(node->text)) return {};
  const std::string start = "attn_implementation: " + node->text.substr(0, 80);
  if (const std::string_view name = canonical_of(node->text); !name.empty()) {
    return start + " is a short name: write attn_implementation: " + std::string(name);
  }
  if (node->text.find('/') != std::string::npos) {
    return start + " is a kernel of the Hub; Regard has its own kernels: " + list;
  }
  if (node->text == "fp8") return start + " does not exist in Regard yet: " + list;
  return start + " is unknown: " + list;
}

namespace rules {

void one_boolean(const Facts& facts, Report& report) {
  std::vector<const ModuleChoice*> booleans;
  for (const ModuleChoice& choice : facts.choices) {
    if (!choice.by_name) booleans.push_back(&choice);
  }
  if (booleans.size() < 2) return;
  std::string names;
  for (const ModuleChoice* choice : booleans) {
    if (!names.empty()) names += ", ";
    names += choice->key;
    if (choice->mark.line > 0) names += " (line " + std::to_string(choice->mark.line) + ")";
  }
  // The file reads from top to bottom: the second choice is the one too many.
  std::sort(booleans.begin(), booleans.end(), [](const ModuleChoice* a, const ModuleChoice* b) {
    return a->mark.line < b->mark.line;
  });
  const bool is_override = booleans[0]->mark.line == 0 && booleans[1]->mark.line > 0;
  report.error(booleans[1]->key, booleans[1]->mark,
               "more than one attention module is chosen: " + names +
                   "; keep one of them and remove the others" +
                   (is_override ? ", or add --" + booleans[1]->key + " false" : ""));
}

void boolean_or_name(const Facts& facts, Report& report) {
  if (!facts.given("attn_implementation")) return;
  std::string names;
  for (const ModuleChoice& choice : facts.choices) {
    if (choice.by_name) continue;
    if (!names.empty()) names += ", ";
    names += choice.key;
  }
  if (facts.read.config.s2_attention) names += names.empty() ? "s2_attention" : ", s2_attention";
  if (names.empty()) return;
  report.error("attn_implementation", facts.mark("attn_implementation"),
               "attn_implementation and " + names +
                   " both choose the attention module: pick one spelling and remove the other");
}

void canonical_name(const Facts& facts, Report& report) {
  const std::string fault = attn_implementation_fault(facts.root.find("attn_implementation"));
  if (fault.empty()) return;
  report.error("attn_implementation", facts.mark("attn_implementation"), fault);
}

void default_module(const Facts& facts, Report& report) {
  const bool chose_something =
      !facts.choices.empty() || facts.read.config.s2_attention || facts.has_bad_attn_implementation;
  if (chose_something) return;
  report.note("attn_implementation", facts.mark("attn_implementation"),
              "no attention module is chosen: sdpa is used; write sdp_attention: true to say so");
}

void s2_needs_flash(const Facts& facts, Report& report) {
  if (!facts.read.config.s2_attention || facts.chosen_flash() != nullptr) return;
  report.error("s2_attention", facts.mark("s2_attention"),
               "s2_attention runs on flash attention: write both flash_attention: true and "
               "s2_attention: true");
}

void s2_without_packing(const Facts& facts, Report& report) {
  const Config& config = facts.read.config;
  if (!facts.uses_s2() || !(config.sample_packing || config.eval_sample_packing)) return;
  const std::string key = config.sample_packing ? "sample_packing" : "eval_sample_packing";
  report.error(key, facts.mark(key),
               "there is no sample packing with shifted sparse attention (" + facts.s2_key() +
                   "): write " + key + ": false, or use flash_attention without s2");
}

void s2_llama_only(const Facts& facts, Report& report) {
  if (!facts.uses_s2() || !facts.model) return;
  if (facts.model->architecture == Architecture::llama) return;
  report.error(facts.s2_key(), facts.mark(facts.s2_key()),
               "shifted sparse attention serves the LLaMA architecture only; " +
                   facts.read.config.base_model + " is " +
                   std::string(architecture_name(facts.model->architecture)) +
                   ": write flash_attention: true without s2");
}

void s2_deprecated(const Facts& facts, Report& report) {
  if (!facts.uses_s2()) return;
  report.warning(facts.s2_key(), facts.mark(facts.s2_key()),
                 "shifted sparse attention is to be deprecated: use another module, such as "
                 "flash_attention: true alone");
}

void s2_shape(const Facts& facts, Report& report) {
  if (!facts.uses_s2()) return;
  const int64_t length = facts.read.config.sequence_len;
  if (facts.readable("sequence_len") && length % 4 != 0) {
    const std::string key = facts.given("sequence_len") ? "sequence_len" : facts.s2_key();
    report.error(key, facts.mark(key),
                 "sequence_len " + std::to_string(length) +
                     " cannot be split into four groups for shifted sparse attention: write a "
                     "multiple of 4, such as " +
                     std::to_string((length + 3) / 4 * 4));
  }
  if (facts.model && facts.model->num_attention_heads % 2 != 0) {
    report.error(facts.s2_key(), facts.mark(facts.s2_key()),
                 "the model has " + std::to_string(facts.model->num_attention_heads) +
                     " query heads; shifted sparse attention shifts half of them and needs an "
                     "even number: write flash_attention: true without s2");
  }
}

}  // namespace rules
}  // namespace tune
