#include "tune/report/record_json.h"

#include <cmath>
#include <limits>
#include <type_traits>

namespace tune {
namespace {

// Each record lists its fields once; writing and reading are two visitors of that list.
template <typename Record, typename Visit>
void visit_step(Record& r, Visit visit) {
  visit("step", r.step);
  visit("epoch", r.epoch);
  visit("loss", r.loss);
  visit("grad_norm", r.grad_norm);
  visit("learning_rate", r.learning_rate);
  visit("tokens_per_second", r.tokens_per_second);
  visit("seconds", r.seconds);
  visit("seconds_left", r.seconds_left);
  visit("tokens_seen", r.tokens_seen);
  visit("trainable_tokens_seen", r.trainable_tokens_seen);
  visit("peak_memory_bytes", r.peak_memory_bytes);
  visit("allocated_memory_bytes", r.allocated_memory_bytes);
  visit("reserved_memory_bytes", r.reserved_memory_bytes);
}

template <typename Record, typename Visit>
void visit_evaluation(Record& r, Visit visit) {
  visit("step", r.step);
  visit("epoch", r.epoch);
  visit("eval_loss", r.loss);
  visit("eval_perplexity", r.perplexity);
  visit("seconds", r.seconds);
  visit("num_tokens", r.num_tokens);
}

template <typename Record, typename Visit>
void visit_sample(Record& r, Visit visit) {
  visit("step", r.step);
  visit("prompt", r.prompt);
  visit("text", r.text);
}

struct Writer {
  nlohmann::json& json;
  template <typename T>
  void operator()(const char* name, const T& value) const {
    if constexpr (std::is_floating_point_v<T>) {
      // JSON has no NaN or infinity; a diverged loss is written as null.
      if (!std::isfinite(value)) {
        json[name] = nullptr;
        return;
      }
    }
    json[name] = value;
  }
};

struct Reader {
  const nlohmann::json& json;
  template <typename T>
  void operator()(const char* name, T& value) const {
    const auto found = json.find(name);
    if (found == json.end()) return;
    if constexpr (std::is_floating_point_v<T>) {
      if (found->is_null()) {
        value = std::numeric_limits<T>::quiet_NaN();
        return;
      }
    }
    found->get_to(value);
  }
};

}  // namespace

nlohmann::json to_json(const StepRecord& record) {
  nlohmann::json json = {{"kind", "step"}};
  visit_step(record, Writer{json});
  return json;
}

nlohmann::json to_json(const EvalRecord& record) {
  nlohmann::json json = {{"kind", "evaluation"}};
  visit_evaluation(record, Writer{json});
  return json;
}

nlohmann::json to_json(const SampleRecord& record) {
  nlohmann::json json = {{"kind", "sample"}};
  visit_sample(record, Writer{json});
  return json;
}

StepRecord step_from_json(const nlohmann::json& json) {
  StepRecord record;
  visit_step(record, Reader{json});
  return record;
}

EvalRecord evaluation_from_json(const nlohmann::json& json) {
  EvalRecord record;
  visit_evaluation(record, Reader{json});
  return record;
}

SampleRecord sample_from_json(const nlohmann::json& json) {
  SampleRecord record;
  visit_sample(record, Reader{json});
  return record;
}

}  // namespace tune
