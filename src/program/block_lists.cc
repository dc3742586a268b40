#include "program/block_lists.h"

#include <algorithm>
#include <limits>

#include "core/sequences.h"
#include "program/code.h"
#include "program/decide.h"
#include "regard/error.h"

namespace regard::program {
namespace {

using BlockRows = std::vector<std::vector<BlockPart>>;

// Blocks [row_lo, row_hi) x [column_lo, column_hi).
struct BlockRange {
  int64_t row_lo, row_hi, column_lo, column_hi;
  bool is_single() const { return row_hi - row_lo == 1 && column_hi - column_lo == 1; }
};

// Collects the blocks of one (batch, head) from one sequence after the other.
class Collector {
 public:
  Collector(const Problem& problem, const BlockLists& lists, Decision decision, BlockRows& rows)
      : problem_(problem),
        lists_(lists),
        decision_(decision),
        decider_(problem.mask_program),
        rows_(rows) {}

  void add(const core::Sequence& sequence, int64_t head) {
    if (sequence.q_len == 0 || sequence.k_len == 0) {
      return;
    }
    sequence_ = sequence;
    box_ = program::box_of(problem_, sequence, head, head);
    const int64_t q_end = sequence.q_begin + sequence.q_len;
    const int64_t k_end = sequence.k_begin + sequence.k_len;
    look({sequence.q_begin / lists_.block_q, (q_end - 1) / lists_.block_q + 1,
          sequence.k_begin / lists_.block_k, (k_end - 1) / lists_.block_k + 1});
  }

 private:
  // The sequence's pairs in these blocks, as positions.
  Box pairs_of(const BlockRange& blocks) const {
    const auto inside = [](int64_t token, int64_t begin, int64_t length) {
      return static_cast<int32_t>(std::clamp<int64_t>(token - begin, 0, length));
    };
    const auto first_query = static_cast<int32_t>(problem_.first_query);
    const auto query = [&](int64_t row) {
      return first_query + inside(row * lists_.block_q, sequence_.q_begin, sequence_.q_len);
    };
    const auto key = [&](int64_t column) {
      return inside(column * lists_.block_k, sequence_.k_begin, sequence_.k_len);
    };
    Box box = box_;
    box.q_lo = query(blocks.row_lo);
    box.q_hi = query(blocks.row_hi) - 1;
    box.kv_lo = key(blocks.column_lo);
    box.kv_hi = key(blocks.column_hi) - 1;
    return box;
  }

  // Whether some block may hold pairs of another sequence, whose rows and keys must both reach into
  // it: its part here must be told even where it sees nothing, else the block would pass for full.
  bool may_be_shared(const BlockRange& blocks) const {
    const int64_t q_end = sequence_.q_begin + sequence_.q_len;
    const int64_t k_end = sequence_.k_begin + sequence_.k_len;
    const bool shares_rows = blocks.row_lo * lists_.block_q < sequence_.q_begin ||
                             (blocks.row_hi * lists_.block_q > q_end && q_end < problem_.q.seq);
    const bool shares_keys = blocks.column_lo * lists_.block_k < sequence_.k_begin ||
                             (blocks.column_hi * lists_.block_k > k_end && k_end < problem_.k.seq);
    return shares_rows && shares_keys;
  }

  void look(const BlockRange& blocks) {
    const Box box = pairs_of(blocks);
    if (blocks.is_single()) {
      put(blocks, decision_ == Decision::exact ? decider_.decide(box) : decider_.bounds(box));
      return;
    }
    const Verdict verdict = decider_.bounds(box);
    if (verdict == Verdict::all || (verdict == Verdict::none && !may_be_shared(blocks))) {
      put(blocks, verdict);
      return;
    }
    BlockRange first = blocks, second = blocks;
    if (blocks.row_hi - blocks.row_lo >= blocks.column_hi - blocks.column_lo) {
      first.row_hi = second.row_lo = (blocks.row_lo + blocks.row_hi) / 2;
    } else {
      first.column_hi = second.column_lo = (blocks.column_lo + blocks.column_hi) / 2;
    }
    look(first);
    look(second);
  }

  void put(const BlockRange& blocks, Verdict verdict) {
    if (verdict == Verdict::none && !may_be_shared(blocks)) {
      return;
    }
    for (int64_t row = blocks.row_lo; row < blocks.row_hi; ++row) {
      for (int64_t column = blocks.column_lo; column < blocks.column_hi; ++column) {
        rows_[static_cast<size_t>(row)].push_back(
            {static_cast<int32_t>(column), verdict != Verdict::none, verdict == Verdict::all});
      }
    }
  }

  const Problem& problem_;
  const BlockLists& lists_;
  Decision decision_;
  MaskDecider decider_;
  BlockRows& rows_;
  core::Sequence sequence_;
  Box box_;
};

}  // namespace

void BlockLists::set_blocks(int64_t q_len, int64_t k_len, int32_t rows_of_block,
                            int32_t keys_of_block) {
  block_q = rows_of_block;
  block_k = keys_of_block;
  num_rows = (q_len + block_q - 1) / block_q;
  num_columns = (k_len + block_k - 1) / block_k;
}

void BlockLists::append(BlockRows& rows) {
  for (std::vector<BlockPart>& row : rows) {
    std::stable_sort(row.begin(), row.end(),
                     [](const BlockPart& a, const BlockPart& b) { return a.column < b.column; });
    for (size_t i = 0; i < row.size();) {
      BlockPart block = row[i];
      for (++i; i < row.size() && row[i].column == block.column; ++i) {
        block.sees_any = block.sees_any || row[i].sees_any;
        block.sees_all = block.sees_all && row[i].sees_all;
      }
      if (block.sees_any) {
        columns.push_back(block.column);
        is_full.push_back(block.sees_all ? 1 : 0);
      }
    }
    if (columns.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
      throw Error(ErrorCode::invalid_argument,
                  "block mask: more than 2^31 - 1 blocks are listed: choose larger blocks");
    }
    row_offsets.push_back(static_cast<int32_t>(columns.size()));
    row.clear();
  }
  ++num_masks;
}

BlockMaskView BlockLists::view() const {
  return {.row_offsets = row_offsets.data(),
          .columns = columns.data(),
          .is_full = is_full.data(),
          .block_q = block_q,
          .block_k = block_k,
          .num_rows = num_rows,
          .stride_batch = stride_batch,
          .stride_head = stride_head};
}

BlockLists block_lists_of(const Problem& problem, int32_t block_q, int32_t block_k,
                          Decision decision) {
  const Code& code = problem.mask_program.program->code();
  const uint8_t depends = code.graph.node(code.root).depends;
  const bool by_head = (depends & kOnHead) != 0, by_batch = (depends & kOnBatch) != 0;
  const bool is_packed = core::is_packed(problem);
  const int64_t num_heads = by_head ? problem.q.heads : 1;
  const int64_t num_batches = by_batch ? problem.q.batch : 1;
  BlockLists lists;
  lists.set_blocks(problem.q.seq, problem.k.seq, block_q, block_k);
  lists.stride_head = by_head ? 1 : 0;
  lists.stride_batch = by_batch ? num_heads : 0;
  BlockRows rows(static_cast<size_t>(lists.num_rows));
  for (int64_t batch = 0; batch < num_batches; ++batch) {
    for (int64_t head = 0; head < num_heads; ++head) {
      Collector collector(problem, lists, decision, rows);
      const int64_t first = is_packed ? 0 : batch;
      const int64_t last = is_packed ? core::num_sequences(problem) : batch + 1;
      for (int64_t index = first; index < last; ++index) {
        collector.add(core::sequence_at(problem, index), head);
      }
      lists.append(rows);
    }
  }
  return lists;
}

}  // namespace regard::program
