// One line of the attention table: a problem described by numbers, its random operands, and its id.
#pragma once

#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "regard/problem.h"
#include "tests/support/guarded_tensor.h"

namespace regard::testing {

enum class Broadcast : uint8_t { full, over_batch_and_head, over_head_and_query };

struct AttentionCase {
  std::string name = {};  // instead of a description, in lists written by hand
  DType dtype = DType::f32;
  DType gradient_dtype = DType::f32;  // of dq, dk, dv
  int64_t batch = 1, q_heads = 1, kv_heads = 1, sq = 1, sk = 1, d = 8, dv = 8;
  Layout layout = Layout::bshd;
  Causal causal = Causal::none;
  Window window = {};
  std::vector<std::pair<int32_t, int32_t>> documents = {};  // query and key length of each
  bool has_mask = false, has_bias = false, has_alibi = false, has_d_lse = false;
  Broadcast broadcast = Broadcast::full;  // of mask and bias
  float softcap = 0.0f, dropout = 0.0f;
  float q_magnitude = 1.0f;  // standard deviation of q: large scores
  uint32_t seed = 1;
  std::function<void(Problem&)> change = {};  // last, for what has no field here

  std::string id() const;
};

// The case's operands in memory, and the Problem over them.
class CaseOperands {
 public:
  explicit CaseOperands(const AttentionCase& config);
  CaseOperands(const CaseOperands&) = delete;
  CaseOperands& operator=(const CaseOperands&) = delete;

  const Problem& problem() const { return problem_; }
  const View& d_o() const { return d_o_.view(); }
  LseView d_lse() const { return has_d_lse_ ? d_lse_.view() : LseView{}; }

 private:
  void add_documents(const AttentionCase& config);
  void add_mask_and_bias(const AttentionCase& config);

  GuardedTensor q_, k_, v_, d_o_;
  GuardedLse d_lse_;
  bool has_d_lse_;
  std::vector<uint8_t> mask_;
  std::vector<uint16_t> bias16_;
  std::vector<float> bias32_, slopes_;
  std::vector<int32_t> q_offsets_, k_offsets_;
  Problem problem_;
};

// What GoogleTest shows of a case.
inline void PrintTo(const AttentionCase& config, std::ostream* out) { *out << config.id(); }

}  // namespace regard::testing
