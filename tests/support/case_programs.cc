#include "tests/support/case_programs.h"

#include <random>

namespace regard::testing {

int64_t num_elements(const ProgramTensor& tensor) {
  int64_t elements = 1;
  for (int32_t axis = 0; axis < tensor.rank; ++axis) {
    elements *= tensor.shape[axis];
  }
  return elements;
}

CasePrograms::CasePrograms(int number, int64_t q_heads, uint32_t seed) {
  switch (number) {
    case 1:  // ALiBi with learnt slopes
      score_.push_back(score_program("score + slopes[h] * (kv - q)", {{"slopes"}}));
      add_tensor({q_heads}, seed);
      break;
    case 2:  // relative position bias after a soft cap
      score_.push_back(
          score_program("4.0 * tanh(score / 4.0) + table[clamp(q - kv, -8, 8) + 8]", {{"table"}}));
      add_tensor({17}, seed);
      break;
    case 3:  // dilated and causal
      mask_.push_back(mask_program("q >= kv && (q - kv) % 3 == 0"));
      break;
    case 4:
      score_.push_back(score_program("where(kv % 2 == 0, score * 1.5, score - 0.5)"));
      mask_.push_back(mask_program("kv <= q + 4 || kv % 5 == 0"));
      break;
    case 5:  // two axes, and one element for many keys
      score_.push_back(score_program("score * scales[h, kv % 4]", {{"scales"}}));
      mask_.push_back(mask_program("doc[q] == doc[kv] && kv != 1"));
      add_tensor({q_heads, 4}, seed);
      break;
    default:
      break;
  }
}

void CasePrograms::add_tensor(const std::vector<int64_t>& shape, uint32_t seed) {
  ProgramTensor tensor{.rank = static_cast<int32_t>(shape.size())};
  int64_t stride = 1;
  for (size_t axis = shape.size(); axis-- > 0;) {
    tensor.shape[axis] = shape[axis];
    tensor.stride[axis] = stride;
    stride *= shape[axis];
  }
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, 0.5f);
  values_.emplace_back(static_cast<size_t>(stride));
  for (float& value : values_.back()) {
    value = normal(engine);
  }
  tensor.data = values_.back().data();
  tensors_.push_back(tensor);
}

void CasePrograms::put_into(Problem& problem) const {
  if (!score_.empty()) {
    problem.score_program = {.program = &score_.front(),
                             .tensors = tensors_.data(),
                             .num_tensors = static_cast<int32_t>(tensors_.size())};
  }
  if (!mask_.empty()) {
    problem.mask_program = {.program = &mask_.front()};
  }
}

}  // namespace regard::testing
