// Words about the schema: ranges, types, lists of names and the nearest one.
#include <algorithm>
#include <cmath>

#include "tune/config/scalar.h"
#include "tune/config/schema.h"

namespace tune {
namespace {

struct TypeName {
  std::string_view operator()(bool*) const { return "true or false"; }
  std::string_view operator()(std::optional<bool>*) const { return "true or false"; }
  std::string_view operator()(Tristate*) const { return "true, false or auto"; }
  std::string_view operator()(int64_t*) const { return "a whole number"; }
  std::string_view operator()(std::optional<int64_t>*) const { return "a whole number"; }
  std::string_view operator()(double*) const { return "a number"; }
  std::string_view operator()(std::optional<double>*) const { return "a number"; }
  std::string_view operator()(std::string*) const { return "text"; }
  std::string_view operator()(std::vector<std::string>*) const { return "a list of texts"; }
  std::string_view operator()(std::map<std::string, std::string>*) const {
    return "a mapping of texts";
  }
  std::string_view operator()(std::map<std::string, FlexTensor>*) const {
    return "a mapping of tensors";
  }
  std::string_view operator()(std::vector<DatasetConfig>*) const { return "a list of data sets"; }
};

class NameCollector final : public FieldVisitor {
 public:
  void field(std::string_view key, FieldRef, const KeySpec&) override { names.emplace_back(key); }
  std::vector<std::string> names;
};

}  // namespace

bool Range::contains(double value) const {
  if (std::isnan(value)) return false;
  const bool above = excludes_min ? value > min : value >= min;
  const bool below = excludes_max ? value < max : value <= max;
  return above && below;
}

std::string Range::text() const {
  std::string words;
  if (std::isfinite(min)) words = (excludes_min ? "> " : ">= ") + number_text(min);
  if (std::isfinite(max)) {
    if (!words.empty()) words += " and ";
    words += (excludes_max ? "< " : "<= ") + number_text(max);
  }
  return words;
}

std::string_view field_type_name(const FieldRef& field) { return std::visit(TypeName{}, field); }

std::string choices_text(const std::vector<std::string_view>& choices) {
  std::string text;
  for (const std::string_view choice : choices) {
    if (!text.empty()) text += " | ";
    text += choice.empty() ? std::string_view("\"\"") : choice;
  }
  return text;
}

std::vector<std::string> config_key_names() {
  NameCollector collector;
  Config config;
  visit_keys(collector, config);
  return collector.names;
}

std::vector<std::string> dataset_key_names() {
  NameCollector collector;
  DatasetConfig dataset;
  visit_keys(collector, dataset);
  return collector.names;
}

int edit_distance(std::string_view a, std::string_view b) {
  // Three rows of the usual table are enough: a swap looks two rows back.
  std::vector<int> before, above(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) above[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int replaced = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({replaced, above[j] + 1, row[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before = above;
    above = row;
  }
  return above[b.size()];
}

std::string nearest_key(std::string_view key, const std::vector<std::string>& candidates) {
  // A key of a thousand letters is no misspelling; its beginning decides.
  const std::string_view start = key.substr(0, 64);
  const std::string* nearest = nullptr;
  int nearest_distance = 0;
  for (const std::string& candidate : candidates) {
    const int distance = edit_distance(start, candidate);
    if (nearest == nullptr || distance < nearest_distance) {
      nearest = &candidate;
      nearest_distance = distance;
    }
  }
  // A quarter of the letters: "attention" is 3 of 9 away from s2_attention, and is not that.
  const size_t allowed = start.size() < 3 ? 0 : std::max<size_t>(1, start.size() / 4);
  const bool is_misspelling =
      nearest != nullptr && static_cast<size_t>(nearest_distance) <= allowed;
  return is_misspelling ? *nearest : std::string();
}

}  // namespace tune
