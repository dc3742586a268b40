// Random problems for the CPU back ends, and their judgement by the reference.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "regard/problem.h"

namespace regard::test {

struct AttentionCase {
  std::string name;
  DType dtype = DType::f32;
  int64_t batch = 1, q_heads = 1, kv_heads = 1, q_len = 64, k_len = 64, head_dim = 32,
          value_dim = 32;
  Causal causal = Causal::none;
  Window window = {};
  std::vector<int32_t> q_offsets = {}, k_offsets = {};
  bool has_mask = false, has_bias = false, has_alibi = false, has_d_lse = false;
  float softcap = 0.0f;
  float dropout = 0.0f;
  float score_size = 1.0f;  // standard deviation of Q and K
};

inline std::ostream& operator<<(std::ostream& out, const AttentionCase& c) { return out << c.name; }

// Operands, outputs and gradients of one case; rows are strided with gaps, and every allocation
// ends where its last row ends, so that address sanitizer sees reads past a tensor.
class CaseData {
 public:
  CaseData(const AttentionCase& attention_case, uint32_t seed);

  Problem problem() const;
  ForwardOutputs outputs();
  BackwardTensors gradients();

  struct Tensor {
    View view;
    std::vector<float> f32;
    std::vector<uint16_t> f16;
  };
  Tensor q, k, v, o, d_o, dq, dk, dv;
  std::vector<float> lse, d_lse, bias, slopes;
  std::vector<uint8_t> mask;

 private:
  AttentionCase case_;
};

struct Errors {
  double o = 0, lse = 0, dq = 0, dk = 0, dv = 0;  // largest difference / largest reference value
  bool has_touched_gaps = false;
};

using ForwardFunction = void (*)(const Problem&, const ForwardOutputs&);
using BackwardFunction = void (*)(const Problem&, const BackwardTensors&);

// The reference's results for one case and seed, computed once, against which back ends are judged.
class Judge {
 public:
  Judge(const AttentionCase& attention_case, uint32_t seed);

  // Runs forward and backward of a back end on the same random operands.
  Errors errors_of(ForwardFunction forward, BackwardFunction backward) const;

 private:
  AttentionCase case_;
  uint32_t seed_;
  CaseData expected_;
};

// All bits a back end writes for a case, concatenated.
std::vector<float> all_outputs(const AttentionCase& attention_case, ForwardFunction forward,
                               BackwardFunction backward, uint32_t seed);

// Largest error allowed: rounding of the result to the dtype, f32 accumulation over hundreds of
// keys, and the rounding of the largest scores (about 4 score_size^2), which exp turns into a
// relative error of the weights. Relative to the largest value of the tensor.
double tolerance(const AttentionCase& attention_case);

// Cases that cover every feature once, alone and combined.
std::vector<AttentionCase> attention_cases();

}  // namespace regard::test
