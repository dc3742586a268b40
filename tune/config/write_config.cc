// Two visitors that write: the resolved configuration as YAML, and the reference of all keys.
#include <array>
#include <cstdio>
#include <type_traits>

#include "tune/config/check.h"
#include "tune/config/scalar.h"
#include "tune/config/schema.h"

namespace tune {
namespace {

// Double-quoted YAML, which can hold every text.
std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (c == '\n') {
      result += "\\n";
    } else if (static_cast<uint8_t>(c) < 0x20 || c == 0x7F) {
      std::array<char, 8> buffer{};
      std::snprintf(buffer.data(), buffer.size(), "\\x%02x", static_cast<unsigned>(uint8_t(c)));
      result += buffer.data();
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string text_of(bool value) { return value ? "true" : "false"; }
std::string text_of(int64_t value) { return std::to_string(value); }
std::string text_of(double value) { return number_text(value); }
std::string text_of(Tristate value) {
  return value == Tristate::automatic ? "auto" : text_of(value == Tristate::yes);
}

class YamlWriter final : public FieldVisitor {
 public:
  explicit YamlWriter(std::string indent) : indent_(std::move(indent)) {}

  void field(std::string_view key, FieldRef field, const KeySpec& spec) override {
    const std::string name(key);
    std::visit([&](auto* value) { write(name, *value, spec); }, field);
  }

  std::string text;

 private:
  void line(const std::string& key, const std::string& value) {
    text += indent_ + key + ": " + value + "\n";
  }

  template <class T>
  void write(const std::string& key, const T& value, const KeySpec& spec) {
    if constexpr (std::is_same_v<T, double>) {
      if (!spec.range.contains(value)) return;  // learning_rate that was not given
    }
    line(key, text_of(value));
  }
  template <class T>
  void write(const std::string& key, const std::optional<T>& value, const KeySpec&) {
    if (value) line(key, text_of(*value));
  }
  void write(const std::string& key, const std::string& value, const KeySpec& spec) {
    if (!value.empty() || spec.is_read_from_empty_text) line(key, quoted(value));
  }
  void write(const std::string& key, const std::vector<std::string>& values, const KeySpec&) {
    // An empty list is written too: it may stand against a default that is not empty.
    std::string list = "[";
    for (const std::string& value : values) list += (list.size() > 1 ? ", " : "") + quoted(value);
    line(key, list + "]");
  }
  void write(const std::string& key, const std::map<std::string, std::string>& values,
             const KeySpec&) {
    if (values.empty()) return;
    text += indent_ + key + ":\n";
    for (const auto& entry : values) {
      text += indent_ + "  " + quoted(entry.first) + ": " + quoted(entry.second) + "\n";
    }
  }
  void write(const std::string& key, const std::map<std::string, FlexTensor>& values,
             const KeySpec&) {
    if (values.empty()) return;
    text += indent_ + key + ":\n";
    for (const auto& entry : values) {
      text += indent_ + "  " + quoted(entry.first) + ": {from: " + quoted(entry.second.from) +
              ", trainable: " + text_of(entry.second.trainable) + "}\n";
    }
  }
  void write(const std::string& key, const std::vector<DatasetConfig>& values, const KeySpec&) {
    if (values.empty()) return;
    text += indent_ + key + ":\n";
    for (DatasetConfig dataset : values) {
      YamlWriter inner(indent_ + "    ");
      visit_keys(inner, dataset);
      inner.text.replace(0, indent_.size() + 4, indent_ + "  - ");
      text += inner.text;
    }
  }

  std::string indent_;
};

// A default as the reference shows it: nothing where there is none.
struct DefaultText {
  std::string operator()(const bool* value) const { return text_of(*value); }
  std::string operator()(const Tristate* value) const { return text_of(*value); }
  std::string operator()(const int64_t* value) const { return text_of(*value); }
  std::string operator()(const double* value) const { return text_of(*value); }
  std::string operator()(const std::string* value) const { return *value; }
  std::string operator()(const std::vector<std::string>* values) const {
    std::string list;
    for (const std::string& value : *values) list += (list.empty() ? "" : ", ") + value;
    return list.empty() ? list : "[" + list + "]";
  }
  template <class T>
  std::string operator()(const T*) const {
    return "";
  }
};

class ReferenceWriter final : public FieldVisitor {
 public:
  void section(std::string_view title) override {
    text += "\n## " + std::string(title) + "\n\n| key | type | default | what it does |\n" +
            "| --- | --- | --- | --- |\n";
  }

  void field(std::string_view key, FieldRef field, const KeySpec& spec) override {
    std::string type(field_type_name(field));
    if (spec.takes_boolean) type += ", true or false";
    if (!spec.choices.empty()) type = in_code(spec.choices);
    if (!spec.range.text().empty()) type += " " + spec.range.text();
    if (!spec.map_keys.empty()) type += " with the keys " + in_code(spec.map_keys);
    const std::string value = spec.required_for.empty() ? std::visit(DefaultText{}, field) : "";
    std::string shown = value.empty() ? "" : "`" + value + "`";
    if (!spec.required_for.empty()) shown = "required: " + std::string(spec.required_for);
    text += "| `" + std::string(key) + "` | " + type + " | " + shown + " | " +
            std::string(spec.help) + " |\n";
  }

  std::string text;

 private:
  static std::string in_code(const std::vector<std::string_view>& words) {
    std::string list;
    for (const std::string_view word : words) {
      list += (list.empty() ? "`" : ", `") + (word.empty() ? "\"\"" : std::string(word)) + "`";
    }
    return list;
  }
};

}  // namespace

std::string config_to_yaml(const Config& config) {
  YamlWriter writer("");
  Config copy = config;
  visit_keys(writer, copy);
  return writer.text;
}

std::string key_reference_markdown() {
  ReferenceWriter writer;
  writer.text =
      "# Keys of a configuration file\n\n"
      "Generated from the schema (`tune/config/schema.cc`); after a change there, run the target\n"
      "`key_reference` of the build. What combinations of keys mean is in [rules.md](rules.md).\n\n"
      "`null` and an absent key are the same: not given. Numbers may be quoted; booleans (`true`,\n"
      "`false`, `yes`, `no`, `on`, `off`) may not. Paths are relative to the current directory,\n"
      "not to the file. Every key can be set on the command line as `--key value`.\n";
  Config config;
  visit_keys(writer, config);
  DatasetConfig dataset;
  visit_keys(writer, dataset);
  return writer.text;
}

}  // namespace tune
