#include "tune/config/read_config.h"

#include <algorithm>
#include <map>
#include <utility>

#include "tune/config/scalar.h"
#include "tune/config/schema.h"

namespace tune {
namespace {

constexpr size_t kShownChars = 60;

// The value as a message shows it.
std::string shown(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::scalar) return std::string(yaml_kind_name(node));
  std::string text = node.text.substr(0, kShownChars);
  if (node.text.size() > kShownChars) text += "...";
  return node.is_quoted ? "the text \"" + text + "\"" : text;
}

std::optional<bool> plain_boolean(const YamlNode& node) {
  const bool is_plain = node.kind == YamlNode::Kind::scalar && !node.is_quoted;
  return is_plain ? parse_boolean(node.text) : std::nullopt;
}

class ReadVisitor final : public FieldVisitor {
 public:
  ReadVisitor(const YamlNode& mapping, std::string prefix, ReadResult& result)
      : mapping_(mapping), prefix_(std::move(prefix)), result_(result) {}

  void field(std::string_view key, FieldRef field, const KeySpec& spec) override {
    known_.emplace_back(key);
    const YamlNode* node = mapping_.find(key);
    if (node == nullptr || node->is_null()) return;
    const Context context{prefix_ + std::string(key), *node, spec, field};
    std::visit([&](auto* target) { read(context, *target); }, field);
  }

  // After all fields: what else the mapping says.
  void collect_unknown() {
    for (const YamlNode& item : mapping_.items) {
      if (item.is_null() || std::count(known_.begin(), known_.end(), item.key) > 0) continue;
      result_.unknown_keys.push_back(
          {prefix_ + item.key, item.key, item.key_mark, &item, known_, prefix_.empty()});
    }
  }

 private:
  struct Context {
    std::string key;
    const YamlNode& node;
    const KeySpec& spec;
    const FieldRef& field;
  };

  void fault(const Context& context, const YamlNode& at, std::string message) {
    result_.faults.push_back({context.key, at.mark, std::move(message)});
    const size_t end = context.key.find_first_of(".[");
    result_.bad_keys.insert(context.key.substr(0, end));
  }

  void wrong_type(const Context& context, const YamlNode& at, std::string_view hint = {}) {
    std::string message =
        context.key + ": " + shown(at) + " is not " + std::string(field_type_name(context.field));
    if (!context.spec.choices.empty()) {
      message += "; write one of " + choices_text(context.spec.choices);
    } else if (!context.spec.range.text().empty()) {
      message += " (" + context.spec.range.text() + ")";
    }
    if (!hint.empty()) message += "; " + std::string(hint);
    fault(context, at, std::move(message));
  }

  bool in_range(const Context& context, double value) {
    if (context.spec.range.contains(value)) return true;
    fault(context, context.node,
          context.key + ": " + shown(context.node) + " is out of range: write a number " +
              context.spec.range.text());
    return false;
  }

  void read(const Context& context, bool& target) {
    const std::optional<bool> value = plain_boolean(context.node);
    if (!value) return wrong_type(context, context.node, "write true or false without quotes");
    target = *value;
  }

  void read(const Context& context, Tristate& target) {
    const YamlNode& node = context.node;
    if (node.kind == YamlNode::Kind::scalar && node.text == "auto") {
      target = Tristate::automatic;
      return;
    }
    bool value = false;
    const size_t num_faults = result_.faults.size();
    read(context, value);
    if (result_.faults.size() == num_faults) target = value ? Tristate::yes : Tristate::no;
  }

  void read(const Context& context, int64_t& target) {
    const YamlNode& node = context.node;
    if (node.kind != YamlNode::Kind::scalar) return wrong_type(context, node);
    const std::optional<int64_t> value = parse_integer(node.text);
    if (!value) return wrong_type(context, node);
    if (in_range(context, static_cast<double>(*value))) target = *value;
  }

  void read(const Context& context, double& target) {
    const YamlNode& node = context.node;
    if (node.kind != YamlNode::Kind::scalar) return wrong_type(context, node);
    const std::optional<double> value = parse_number(node.text);
    if (!value) return wrong_type(context, node);
    if (in_range(context, *value)) target = *value;
  }

  template <class T>
  void read(const Context& context, std::optional<T>& target) {
    T value{};
    const size_t num_faults = result_.faults.size();
    read(context, value);
    if (result_.faults.size() == num_faults) target = value;
  }

  // One text, or a fault and nothing.
  std::optional<std::string> text_of(const Context& context, const YamlNode& node) {
    const auto& choices = context.spec.choices;
    const bool is_scalar = node.kind == YamlNode::Kind::scalar;
    if (is_scalar && std::count(choices.begin(), choices.end(), node.text) > 0) return node.text;
    if (!is_scalar || is_plain_boolean_or_number(node)) {
      wrong_type(context, node, is_scalar && choices.empty() ? "put quotes around it" : "");
      return std::nullopt;
    }
    if (!choices.empty()) {
      fault(context, node,
            context.key + ": \"" + node.text.substr(0, kShownChars) +
                "\" is not supported; write one of " + choices_text(choices));
      return std::nullopt;
    }
    return node.text;
  }

  void read(const Context& context, std::string& target) {
    // What attn_implementation may say is rule 3, its type included.
    if (context.spec.is_checked_by_rule_3 && is_plain_boolean_or_number(context.node)) return;
    if (context.spec.is_checked_by_rule_3 && context.node.kind != YamlNode::Kind::scalar) return;
    const std::optional<bool> flag = plain_boolean(context.node);
    if (context.spec.takes_boolean && flag) {
      target = *flag ? "true" : "";
      return;
    }
    const std::optional<std::string> text = text_of(context, context.node);
    if (!text) return;
    if (text->empty() && !target.empty() && !context.spec.is_read_from_empty_text) {
      return fault(
          context, context.node,
          context.key + ": the text is empty; leave the key out for its default " + target);
    }
    target = *text;
  }

  void read(const Context& context, std::vector<std::string>& target) {
    const YamlNode& node = context.node;
    std::vector<std::string> texts;
    if (node.kind == YamlNode::Kind::scalar) {
      const std::optional<std::string> text = text_of(context, node);
      if (!text) return;
      texts.push_back(*text);
    } else if (node.kind == YamlNode::Kind::sequence) {
      for (const YamlNode& item : node.items) {
        const std::optional<std::string> text = text_of(context, item);
        if (!text) return;
        texts.push_back(*text);
      }
    } else {
      return wrong_type(context, node);
    }
    target = std::move(texts);
  }

  // The entries of a mapping that are allowed and not null, the others reported.
  std::vector<const YamlNode*> entries_of(const Context& context) {
    std::vector<const YamlNode*> entries;
    const auto& allowed = context.spec.map_keys;
    for (const YamlNode& item : context.node.items) {
      if (item.is_null()) continue;
      if (allowed.empty() || std::count(allowed.begin(), allowed.end(), item.key) > 0) {
        entries.push_back(&item);
        continue;
      }
      const std::vector<std::string> candidates(allowed.begin(), allowed.end());
      result_.unknown_keys.push_back(
          {context.key + "." + item.key, item.key, item.key_mark, &item, candidates, false});
    }
    return entries;
  }

  void read(const Context& context, std::map<std::string, std::string>& target) {
    if (context.node.kind != YamlNode::Kind::mapping) return wrong_type(context, context.node);
    for (const YamlNode* item : entries_of(context)) {
      const FieldRef field = &target[item->key];
      const KeySpec spec{};
      const Context inner{context.key + "." + item->key, *item, spec, field};
      read(inner, target[item->key]);
    }
  }

  void read(const Context& context, std::map<std::string, FlexTensor>& target) {
    if (context.node.kind != YamlNode::Kind::mapping) return wrong_type(context, context.node);
    for (const YamlNode* item : entries_of(context)) {
      const std::string key = context.key + "." + item->key;
      FlexTensor& tensor = target[item->key];
      if (item->kind == YamlNode::Kind::mapping) {
        ReadVisitor inner(*item, key + ".", result_);
        inner.field("from", &tensor.from, {});
        inner.field("trainable", &tensor.trainable, {});
        inner.collect_unknown();
      } else {
        const FieldRef field = &tensor.from;
        const KeySpec spec{};
        const Context whole{key, *item, spec, field};
        read(whole, tensor.from);
      }
      const bool is_file = tensor.from.find(".safetensors#") != std::string::npos;
      if (result_.bad_keys.count("flex_tensors") == 0 && tensor.from != "alibi" && !is_file) {
        fault(context, *item,
              key + ": \"" + tensor.from.substr(0, kShownChars) +
                  "\" is no tensor; write alibi, or FILE.safetensors#name");
      }
    }
  }

  void read(const Context& context, std::vector<DatasetConfig>& target) {
    const YamlNode& node = context.node;
    if (node.kind != YamlNode::Kind::sequence) {
      return wrong_type(context, node, "write a list: each entry starts with '- path: ...'");
    }
    for (size_t i = 0; i < node.items.size(); ++i) {
      const YamlNode& item = node.items[i];
      const std::string key = context.key + "[" + std::to_string(i) + "]";
      if (item.kind != YamlNode::Kind::mapping) {
        result_.bad_keys.insert(context.key);
        result_.faults.push_back({key, item.mark,
                                  key + ": " + shown(item) +
                                      " is not a data set; write '- path: FILE' and 'type: ...'"});
        continue;
      }
      DatasetConfig dataset;
      dataset.line = item.mark.line;
      ReadVisitor inner(item, key + ".", result_);
      visit_keys(inner, dataset);
      inner.collect_unknown();
      const YamlNode* path = item.find("path");
      if (path == nullptr || path->is_null() || (dataset.path.empty() && path->text.empty())) {
        result_.bad_keys.insert(context.key);
        result_.faults.push_back({key + ".path", path == nullptr ? item.mark : path->mark,
                                  key + ": path is missing; write 'path: FILE.jsonl'"});
      }
      target.push_back(std::move(dataset));
    }
  }

  const YamlNode& mapping_;
  std::string prefix_;
  ReadResult& result_;
  std::vector<std::string> known_;
};

void find_duplicates(const YamlNode& node, const std::string& path,
                     std::vector<ValueFault>& faults) {
  std::map<std::string_view, const YamlNode*> first;
  for (size_t i = 0; i < node.items.size(); ++i) {
    const YamlNode& item = node.items[i];
    const bool in_mapping = node.kind == YamlNode::Kind::mapping;
    const std::string key = in_mapping ? (path.empty() ? item.key : path + "." + item.key)
                                       : path + "[" + std::to_string(i) + "]";
    if (in_mapping) {
      const auto [found, is_new] = first.emplace(item.key, &item);
      if (!is_new) {
        faults.push_back({key, item.key_mark,
                          key + " is written twice, first on line " +
                              std::to_string(found->second->key_mark.line) + ": keep one of them"});
      }
    }
    find_duplicates(item, key, faults);
  }
}

}  // namespace

bool is_plain_boolean_or_number(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::scalar || node.is_quoted || node.is_override) return false;
  return parse_boolean(node.text).has_value() || parse_number(node.text).has_value();
}

ReadResult read_config(const YamlNode& root) {
  ReadResult result;
  ReadVisitor visitor(root, "", result);
  visit_keys(visitor, result.config);
  visitor.collect_unknown();
  return result;
}

std::vector<ValueFault> find_duplicate_keys(const YamlNode& root) {
  std::vector<ValueFault> faults;
  find_duplicates(root, "", faults);
  return faults;
}

}  // namespace tune
