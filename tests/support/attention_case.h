// One line of the attention table: a problem described by numbers, its random operands, and its id.
#pragma once

#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "regard/problem.h"
#include "tests/support/case_programs.h"
#include "tests/support/guarded_tensor.h"

namespace regard::testing {

// Of mask, bias and block mask. The first two name what the tensor has one copy for.
enum class Broadcast : uint8_t { full, over_batch_and_head, over_head_and_query, over_key };

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
  Broadcast broadcast = Broadcast::full;
  float softcap = 0.0f, dropout = 0.0f;
  float q_magnitude = 1.0f;  // standard deviation of q: large scores
  uint32_t seed = 1;
  Chunks chunks = {};
  int32_t unowned = 0;    // > 0: so many queries and keys lie between documents, which have lengths
  int32_t page_size = 0;  // > 0: keys in pages, forward only; sk is the longest sequence
  int32_t block_q = 0, block_k = 0;  // > 0: a random block mask
  bool has_sink = false;
  bool has_descale = false;                   // of f8_e4m3 operands
  bool has_nan_keys = false;                  // keys that no query may see hold NaN
  int program = 0;                            // 1 .. kNumCasePrograms
  bool asks_score_gradients = false;          // d_bias, d_slopes, d_sink, d_tensors
  std::function<void(Problem&)> change = {};  // last, for what has no field here

  // Of o and d_o: bf16 for f8_e4m3 operands.
  DType result_dtype() const { return dtype == DType::f8_e4m3 ? DType::bf16 : dtype; }
  std::string id() const;
};

// Whether a backward exists for the problem: not for pages and f8_e4m3 operands.
bool has_backward(const Problem& problem);

// The case's operands in memory, and the Problem over them.
class CaseOperands {
 public:
  explicit CaseOperands(const AttentionCase& config);
  CaseOperands(const CaseOperands&) = delete;
  CaseOperands& operator=(const CaseOperands&) = delete;

  const Problem& problem() const { return problem_; }
  const View& d_o() const { return d_o_.view(); }
  LseView d_lse() const { return has_d_lse_ ? d_lse_.view() : LseView{}; }
  std::vector<float> d_lse_values() const {
    return has_d_lse_ ? d_lse_.dense() : std::vector<float>();
  }
  bool asks_score_gradients() const { return asks_score_gradients_; }

 private:
  void add_documents(const AttentionCase& config);
  void add_pages(const AttentionCase& config);
  void add_mask_and_bias(const AttentionCase& config);
  void add_block_mask(const AttentionCase& config);
  bool program_sees_block(const AttentionCase& config, int64_t row, int64_t column) const;
  void add_head_terms(const AttentionCase& config);  // slopes, sink, descale
  void fill_unseen_keys_with_nan();

  GuardedTensor q_, k_, v_, d_o_;
  GuardedLse d_lse_;
  bool has_d_lse_, asks_score_gradients_;
  std::vector<uint8_t> mask_, full_blocks_;
  std::vector<uint16_t> bias16_;
  std::vector<float> bias32_, slopes_, sink_, descale_;
  CasePrograms programs_;
  std::vector<int32_t> q_offsets_, k_offsets_, q_lengths_, k_lengths_;
  std::vector<int32_t> page_table_, page_lengths_, page_starts_, block_offsets_, block_columns_;
  Problem problem_;
};

// What GoogleTest shows of a case.
inline void PrintTo(const AttentionCase& config, std::ostream* out) { *out << config.id(); }

}  // namespace regard::testing
