#include "modules/shifted_sparse.h"

#include <algorithm>
#include <string>

#include "regard/error.h"

namespace regard::lowering {
namespace {

// LongLoRA's ratio of a group to the row; models were trained with no other.
constexpr int64_t kGroupsPerRow = 4;

[[noreturn]] void refuse(const std::string& reason) {
  throw Error(ErrorCode::invalid_argument, "s2: " + reason);
}

std::string text(int64_t value) { return std::to_string(value); }

int64_t longest_document(const Documents& documents, int64_t seq) {
  int64_t longest = documents.count > 0 && documents.q_offsets != nullptr ? 0 : seq;
  for (int32_t i = 0; documents.q_offsets != nullptr && i < documents.count; ++i) {
    const int64_t length = documents.q_lengths != nullptr
                               ? documents.q_lengths[i]
                               : documents.q_offsets[i + 1] - documents.q_offsets[i];
    longest = std::max(longest, length);
  }
  return longest;
}

}  // namespace

Chunks shifted_chunks(const View& q, const View& k, const AttentionOptions& options) {
  if (!options.training) {
    return {};
  }
  if (!options.is_causal) {
    refuse("is_causal is false, and it trains causal models only: use flash_attention_2");
  }
  if (q.seq != k.seq) {
    refuse("q.seq " + text(q.seq) + " and k.seq " + text(k.seq) +
           " differ: it cuts whole rows, in training only; set training to false for inference");
  }
  if (q.heads % 2 != 0) {
    refuse("q.heads " + text(q.heads) +
           ": it shifts half of the heads and needs an even number of them; use "
           "flash_attention_2");
  }
  if (options.s2_row_length == 0 && options.documents.count > 1) {
    refuse(text(options.documents.count) +
           " documents in one row need s2_row_length, the length whose quarters cut them");
  }
  const int64_t row_length = options.s2_row_length != 0 ? options.s2_row_length : q.seq;
  if (row_length < 0 || row_length % kGroupsPerRow != 0) {
    refuse("row length " + text(row_length) + ": must be a multiple of " + text(kGroupsPerRow) +
           "; the next one is " + text((std::max<int64_t>(row_length, 0) / 4 + 1) * 4));
  }
  if (const int64_t longest = longest_document(options.documents, q.seq); longest > row_length) {
    refuse("a row of " + text(longest) + " tokens is longer than s2_row_length " +
           text(row_length) + ": cut the row or raise the length");
  }
  const int64_t group = row_length / kGroupsPerRow;
  return {.size = group, .shift = group / 2, .first_shifted_head = q.heads / 2};
}

}  // namespace regard::lowering
