#include "tests/support/visible_pairs.h"

#include <algorithm>

#include "core/mask.h"
#include "program/evaluate.h"

namespace regard::testing {
namespace {

bool mask_tensor_allows(const MaskTensor& mask, int64_t batch, int64_t head, int64_t query,
                        int64_t key) {
  return mask.data == nullptr || mask.data[batch * mask.stride_batch + head * mask.stride_head +
                                           query * mask.stride_q + key * mask.stride_k] != 0;
}

enum class Listed { no, yes, full };

Listed listed(const BlockMaskView& mask, int64_t batch, int64_t head, int64_t query, int64_t key) {
  if (mask.row_offsets == nullptr) {
    return Listed::yes;
  }
  const int32_t* row = mask.row_offsets +
                       (batch * mask.stride_batch + head * mask.stride_head) * mask.num_rows +
                       query / mask.block_q;
  const int32_t* columns = mask.columns;
  const int32_t* found = std::find(columns + row[0], columns + row[1], key / mask.block_k);
  if (found == columns + row[1]) {
    return Listed::no;
  }
  return mask.is_full != nullptr && mask.is_full[found - columns] != 0 ? Listed::full : Listed::yes;
}

}  // namespace

bool sees(const Problem& problem, const core::Sequence& sequence, int64_t head, int64_t query,
          int64_t key) {
  const int64_t batch = sequence.batch;
  const int64_t row_query = sequence.q_begin + query, row_key = sequence.k_begin + key;
  const Listed block = listed(problem.block_mask, batch, head, row_query, row_key);
  if (!core::key_interval(problem, sequence, head, query).contains(key) ||
      !mask_tensor_allows(problem.mask, batch, head, row_query, row_key) || block == Listed::no) {
    return false;
  }
  return problem.mask_program.program == nullptr || block == Listed::full ||
         evaluate(problem.mask_program, program::point_of(problem, sequence, head, query, key)) !=
             0;
}

}  // namespace regard::testing
