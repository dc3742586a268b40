#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <unordered_set>

#include "tune/error.h"
#include "tune/train/generate.h"

namespace tune {
namespace {

struct Candidate {
  int32_t id = 0;
  double weight = 0.0;  // logit first, probability later
};

// Likelier first; equal ones by id, so that no order is left to the sorting algorithm.
bool is_likelier(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
}

void penalise(std::vector<float>& logits, std::span<const int32_t> seen, double penalty) {
  if (penalty == 1.0) return;
  const std::unordered_set<int32_t> ids(seen.begin(), seen.end());
  for (const int32_t id : ids) {
    if (id < 0 || static_cast<size_t>(id) >= logits.size()) continue;
    float& logit = logits[static_cast<size_t>(id)];
    logit = static_cast<float>(logit < 0 ? logit * penalty : logit / penalty);
  }
}

int32_t likeliest(const std::vector<float>& logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// Candidates in order of likelihood, as unnormalised probabilities (the likeliest has 1).
std::vector<Candidate> candidates_of(const std::vector<float>& logits, double temperature,
                                     int64_t top_k) {
  std::vector<Candidate> list(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    list[i] = {static_cast<int32_t>(i), static_cast<double>(logits[i]) / temperature};
  const auto kept =
      top_k > 0 ? std::min<size_t>(static_cast<size_t>(top_k), list.size()) : list.size();
  std::partial_sort(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(kept), list.end(),
                    is_likelier);
  list.resize(kept);
  const double highest = list.front().weight;
  for (Candidate& candidate : list) candidate.weight = std::exp(candidate.weight - highest);
  return list;
}

double total_weight(const std::vector<Candidate>& list) {
  double total = 0.0;
  for (const Candidate& candidate : list) total += candidate.weight;
  return total;
}

void keep_top_p(std::vector<Candidate>& list, double top_p) {
  if (top_p >= 1.0) return;
  const double limit = top_p * total_weight(list);
  double sum = 0.0;
  size_t kept = 0;
  while (kept < list.size() && sum < limit) sum += list[kept++].weight;
  list.resize(std::max<size_t>(kept, 1));
}

[[noreturn]] void refuse(const char* name, double value, const char* allowed) {
  std::ostringstream text;
  text << name << ": " << value << " is out of range; " << allowed;
  throw UsageError(text.str());
}

}  // namespace

void check_sampling_options(const SamplingOptions& options) {
  if (!(options.temperature >= 0.0) || !std::isfinite(options.temperature))
    refuse("temperature", options.temperature, "0 (greedy) or more");
  if (!(options.top_p > 0.0 && options.top_p <= 1.0))
    refuse("top_p", options.top_p, "more than 0, at most 1 (all)");
  if (options.top_k < 0)
    refuse("top_k", static_cast<double>(options.top_k), "0 (all) or a number of tokens");
  if (!(options.min_p >= 0.0 && options.min_p <= 1.0)) refuse("min_p", options.min_p, "0 to 1");
  if (!(options.repetition_penalty > 0.0) || !std::isfinite(options.repetition_penalty))
    refuse("repetition_penalty", options.repetition_penalty, "more than 0; 1 is none");
  if (options.max_new_tokens < 0)
    refuse("max_new_tokens", static_cast<double>(options.max_new_tokens), "0 or more");
}

Sampler::Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) {
  check_sampling_options(options);
}

// In [0, 1), of 53 bits.
double Sampler::uniform() { return static_cast<double>(random_.next() >> 11) * 0x1.0p-53; }

int32_t Sampler::next(const torch::Tensor& logits, std::span<const int32_t> seen) {
  const torch::Tensor values = logits.to(torch::kFloat32).to(torch::kCPU).contiguous();
  const float* first = values.data_ptr<float>();
  std::vector<float> row(first, first + values.numel());
  for (const float logit : row)
    if (std::isnan(logit))
      throw Error("the model's output is not a number; its weights are damaged");
  penalise(row, seen, options_.repetition_penalty);
  if (options_.temperature == 0.0) return likeliest(row);
  std::vector<Candidate> list = candidates_of(row, options_.temperature, options_.top_k);
  keep_top_p(list, options_.top_p);
  std::erase_if(list, [&](const Candidate& candidate) {
    return candidate.weight < options_.min_p;  // the likeliest weighs 1 and always stays
  });
  const double target = uniform() * total_weight(list);
  double sum = 0.0;
  for (const Candidate& candidate : list) {
    sum += candidate.weight;
    if (target < sum) return candidate.id;
  }
  return list.back().id;
}

}  // namespace tune
