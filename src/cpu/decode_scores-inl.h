// What happens to one row's scores of a block of keys between Q K^T and the softmax. Scores are in
// units of log2; with softcap they arrive as score / softcap.
#if defined(REGARD_CPU_DECODE_SCORES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_DECODE_SCORES_INL_H_
#undef REGARD_CPU_DECODE_SCORES_INL_H_
#else
#define REGARD_CPU_DECODE_SCORES_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "core/block_mask.h"
#include "core/mask.h"
#include "core/philox.h"
#include "cpu/attn_decode_cpu.h"
#include "cpu/scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// A merged row: which head and query it is, and the keys that positions leave to it.
struct DecodeRow {
  int64_t head = 0, query = 0;
  core::KeyInterval keys;
};

inline DecodeRow decode_row(const Problem& problem, const Unit& unit, int64_t row) {
  DecodeRow result{.head = unit.head_of(row), .query = unit.query_of(row), .keys = {}};
  result.keys = core::key_interval(problem, unit.sequence, result.head, result.query);
  return result;
}

inline void softcap_row(const Problem& problem, float* HWY_RESTRICT scores) {
  const F32 d;
  const Vec cap = hn::Set(d, problem.softcap * kLog2E);
  for (int64_t i = 0; i < kDecodeKeys; i += kLanes) {
    hn::Store(hn::Mul(tanh_of(hn::Load(d, scores + i)), cap), d, scores + i);
  }
}

inline void add_alibi_to_row(const Problem& problem, const Unit& unit, const DecodeRow& row,
                             int64_t first_key, float* HWY_RESTRICT scores) {
  const F32 d;
  const I32 di;
  const core::Sequence& sequence = unit.sequence;
  const float slope =
      problem.alibi.slopes[sequence.batch * problem.alibi.stride_batch + row.head] * kLog2E;
  const int64_t position = row.query + sequence.k_len - sequence.q_len;
  auto offset = hn::Iota(di, static_cast<int32_t>(first_key - position));
  for (int64_t i = 0; i < kDecodeKeys; i += kLanes) {
    const Vec distance = hn::Abs(hn::ConvertTo(d, offset));
    hn::Store(hn::NegMulAdd(hn::Set(d, slope), distance, hn::Load(d, scores + i)), d, scores + i);
    offset = hn::Add(offset, hn::Set(di, static_cast<int32_t>(kLanes)));
  }
}

// Adds a bias, or masks, keys `seen` of a block; both tensors count over the whole row of a batch.
template <class Rows>
void apply_tensor_to_row(const Rows& rows, const Unit& unit, const DecodeRow& row,
                         const core::KeyInterval& block, const core::KeyInterval& seen,
                         float* HWY_RESTRICT scores) {
  const auto& tensor = rows.tensor;
  const int64_t begin = unit.sequence.batch * tensor.stride_batch + row.head * tensor.stride_head +
                        (unit.sequence.q_begin + row.query) * tensor.stride_q +
                        unit.sequence.k_begin * tensor.stride_k;
  HWY_ALIGN float values[kDecodeKeys];
  std::fill_n(values, kDecodeKeys, Rows::kNeutral);
  rows.load(begin, seen.lo, seen.hi, values + (seen.lo - block.lo));
  const F32 d;
  for (int64_t i = 0; i < kDecodeKeys; i += kLanes) {
    hn::Store(Rows::combine(hn::Load(d, scores + i), hn::Load(d, values + i)), d, scores + i);
  }
}

// Keys of blocks that the row's line of the block mask does not list become -inf.
inline void mask_blocks_of_row(const Problem& problem, const Unit& unit, const DecodeRow& row,
                               const core::KeyInterval& block, const core::KeyInterval& seen,
                               float* HWY_RESTRICT scores) {
  const core::BlockRow listed = core::block_row_at(problem.block_mask, unit.sequence.batch,
                                                   row.head, unit.sequence.q_begin + row.query);
  const int64_t block_k = problem.block_mask.block_k;
  for (int64_t key = seen.lo; key < seen.hi;) {
    const int64_t column = (unit.sequence.k_begin + key) / block_k;
    const int64_t next = std::min(seen.hi, (column + 1) * block_k - unit.sequence.k_begin);
    if (!listed.lists(column)) {
      std::fill(scores + (key - block.lo), scores + (next - block.lo), kMasked);
    }
    key = next;
  }
}

// Scores of all kDecodeKeys entries become what the softmax reads; entries that the row does not
// see, or that lie past the block, become -inf. True where there may be such an entry.
inline bool finish_scores(const Problem& problem, const Unit& unit, const DecodeRow& row,
                          const core::KeyInterval& block, float* HWY_RESTRICT scores) {
  const core::KeyInterval seen = core::intersection(row.keys, block);
  if (problem.softcap != 0.0f) {
    softcap_row(problem, scores);
  }
  if (problem.alibi.slopes != nullptr) {
    add_alibi_to_row(problem, unit, row, block.lo, scores);
  }
  if (problem.bias.data != nullptr && !seen.is_empty()) {
    apply_tensor_to_row(BiasRows{problem.bias}, unit, row, block, seen, scores);
  }
  if (problem.mask.data != nullptr && !seen.is_empty()) {
    apply_tensor_to_row(MaskRows{problem.mask}, unit, row, block, seen, scores);
  }
  if (problem.block_mask.row_offsets != nullptr) {
    mask_blocks_of_row(problem, unit, row, block, seen, scores);
  }
  const bool has_limit = seen.hi - seen.lo < kDecodeKeys;
  if (has_limit) {
    const int64_t lo = seen.is_empty() ? kDecodeKeys : seen.lo - block.lo;
    const int64_t hi = seen.is_empty() ? kDecodeKeys : seen.hi - block.lo;
    std::fill(scores, scores + lo, kMasked);
    std::fill(scores + hi, scores + kDecodeKeys, kMasked);
  }
  return has_limit || problem.bias.data != nullptr || problem.mask.data != nullptr ||
         problem.block_mask.row_offsets != nullptr;
}

// Weights of the row's keys times 0 or 1 / (1 - p).
inline void drop_weights_of_row(const Problem& problem, const Unit& unit, const DecodeRow& row,
                                const core::KeyInterval& block, float* HWY_RESTRICT weights) {
  const Dropout& dropout = problem.dropout;
  const uint32_t threshold = core::dropout_threshold(dropout.probability);
  const float scale = core::dropout_scale(dropout.probability);
  for (int64_t group = block.lo / 4; group * 4 < block.hi; ++group) {
    const core::Philox4x32 words =
        core::dropout_words(dropout.seed, unit.sequence.index, row.head, row.query, group);
    const int64_t end = std::min(block.hi, group * 4 + 4);
    for (int64_t key = std::max(block.lo, group * 4); key < end; ++key) {
      weights[key - block.lo] *= words.word[key % 4] >= threshold ? scale : 0.0f;
    }
  }
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
