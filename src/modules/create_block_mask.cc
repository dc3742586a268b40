// Block masks from programs, spans of keys and dense masks.
#include <algorithm>
#include <memory>
#include <string>

#include "core/sequences.h"
#include "modules/block_mask_contents.h"
#include "program/bound.h"
#include "program/check.h"
#include "program/code.h"
#include "program/decide.h"
#include "regard/error.h"

namespace regard {
namespace {

using program::Box;
using program::Verdict;

// The Problem whose pairs the shape describes; programs and sequences are asked through it.
Problem problem_of(const BlockMaskShape& shape, const BoundProgram& mask) {
  Problem problem;
  problem.q = {.batch = shape.batch, .seq = shape.q_len, .heads = shape.heads, .dim = 1};
  problem.k =
      problem.v = {.batch = shape.batch, .seq = shape.k_len, .heads = shape.heads, .dim = 1};
  problem.documents = shape.documents;
  problem.mask_program = mask;
  return problem;
}

// Blocks [row_lo, row_hi) x [column_lo, column_hi).
struct BlockRange {
  int64_t row_lo, row_hi, column_lo, column_hi;
  bool is_single() const { return row_hi - row_lo == 1 && column_hi - column_lo == 1; }
};

// Collects the blocks of one (batch, head) from one sequence after the other.
class Collector {
 public:
  Collector(const BoundProgram& mask, const BlockMaskShape& shape, block_masks::BlockRows& rows)
      : shape_(shape), decider_(mask), rows_(rows) {}

  void add(const core::Sequence& sequence, const Box& box) {
    if (sequence.q_len == 0 || sequence.k_len == 0) {
      return;
    }
    sequence_ = sequence;
    box_ = box;
    const int64_t q_end = sequence.q_begin + sequence.q_len;
    const int64_t k_end = sequence.k_begin + sequence.k_len;
    look({sequence.q_begin / shape_.block_q, (q_end - 1) / shape_.block_q + 1,
          sequence.k_begin / shape_.block_k, (k_end - 1) / shape_.block_k + 1});
  }

 private:
  // The sequence's pairs in these blocks, as positions.
  Box box_of(const BlockRange& blocks) const {
    const auto position = [](int64_t token, int64_t begin, int64_t length) {
      return static_cast<int32_t>(std::clamp<int64_t>(token - begin, 0, length));
    };
    Box box = box_;
    box.q_lo = position(blocks.row_lo * shape_.block_q, sequence_.q_begin, sequence_.q_len);
    box.q_hi = position(blocks.row_hi * shape_.block_q, sequence_.q_begin, sequence_.q_len) - 1;
    box.kv_lo = position(blocks.column_lo * shape_.block_k, sequence_.k_begin, sequence_.k_len);
    box.kv_hi = position(blocks.column_hi * shape_.block_k, sequence_.k_begin, sequence_.k_len) - 1;
    return box;
  }

  // Whether some block may hold pairs of other sequences: its part here must be told even where it
  // sees nothing, else the block would pass for full.
  bool may_be_shared(const BlockRange& blocks) const {
    const int64_t q_end = sequence_.q_begin + sequence_.q_len;
    const int64_t k_end = sequence_.k_begin + sequence_.k_len;
    return blocks.row_lo * shape_.block_q < sequence_.q_begin ||
           blocks.column_lo * shape_.block_k < sequence_.k_begin ||
           (blocks.row_hi * shape_.block_q > q_end && q_end < shape_.q_len) ||
           (blocks.column_hi * shape_.block_k > k_end && k_end < shape_.k_len);
  }

  void look(const BlockRange& blocks) {
    const Box box = box_of(blocks);
    if (blocks.is_single()) {
      put(blocks, decider_.decide(box));
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

  const BlockMaskShape& shape_;
  program::MaskDecider decider_;
  block_masks::BlockRows& rows_;
  core::Sequence sequence_;
  Box box_;
};

// Masks that differ: one for each (batch, head) on which `depends` says the result depends.
void collect(const BoundProgram& mask, const BlockMaskShape& shape, bool by_batch, bool by_head,
             BlockMask::Contents& contents) {
  const Problem problem = problem_of(shape, mask);
  const int64_t num_heads = by_head ? shape.heads : 1;
  const int64_t num_batches = by_batch ? shape.batch : 1;
  block_masks::BlockRows rows(static_cast<size_t>(contents.num_rows));
  for (int64_t batch = 0; batch < num_batches; ++batch) {
    for (int64_t head = 0; head < num_heads; ++head) {
      Collector collector(mask, shape, rows);
      const bool is_packed = core::is_packed(problem);
      const int64_t first = is_packed ? 0 : batch;
      const int64_t last = is_packed ? core::num_sequences(problem) : batch + 1;
      for (int64_t index = first; index < last; ++index) {
        const core::Sequence sequence = core::sequence_at(problem, index);
        collector.add(sequence, program::box_of(problem, sequence, head, head));
      }
      block_masks::append_mask(rows, contents);
    }
  }
  contents.stride_head = by_head ? 1 : 0;
  contents.stride_batch = by_batch ? num_heads : 0;
}

bool result_depends_on(const Program& program, uint8_t axis) {
  const program::Code& code = program.code();
  return (code.graph.node(code.root).depends & axis) != 0;
}

}  // namespace

BlockMask create_block_mask(const BoundProgram& mask, const BlockMaskShape& shape) {
  auto contents = std::make_shared<BlockMask::Contents>();
  block_masks::set_shape(shape, *contents);
  if (mask.program == nullptr) {
    throw Error(ErrorCode::invalid_argument, "block mask: no mask program was given");
  }
  program::check_programs(problem_of(shape, mask));
  contents->program = *mask.program;
  contents->tensors.assign(mask.tensors, mask.tensors + mask.num_tensors);
  collect(mask, shape, result_depends_on(*mask.program, program::kOnBatch),
          result_depends_on(*mask.program, program::kOnHead), *contents);
  return BlockMask(std::move(contents));
}

BlockMask create_block_mask(std::span<const KeySpan> spans, const BlockMaskShape& shape) {
  auto contents = std::make_shared<BlockMask::Contents>();
  block_masks::set_shape(shape, *contents);
  const auto num_queries = static_cast<size_t>(shape.q_len);
  const bool by_head =
      shape.heads > 1 && spans.size() == num_queries * static_cast<size_t>(shape.heads);
  if ((spans.size() != num_queries && !by_head) || shape.documents.count != 0) {
    throw Error(ErrorCode::invalid_argument,
                "block mask: " + std::to_string(spans.size()) + " spans for " +
                    std::to_string(shape.q_len) + " queries and " + std::to_string(shape.heads) +
                    " heads: one a query, or one a head and query, of unpacked rows");
  }
  for (const KeySpan& span : spans) {
    contents->spans.push_back(span.begin);
    contents->spans.push_back(span.end);
  }
  const int64_t heads = by_head ? shape.heads : 1;
  const SymbolicTensor limits("span", ElementType::integer);
  contents->program = mask_program([&](Value, Value h, Value q, Value kv) {
    const Value head = by_head ? h : Value(0);
    return kv >= limits(head, q, 0) && kv < limits(head, q, 1);
  });
  contents->tensors = {
      {contents->spans.data(), true, 3, {heads, shape.q_len, 2}, {shape.q_len * 2, 2, 1}}};
  if (shape.q_len == 0) {  // nothing is read, and an axis may not be empty
    contents->program.reset();
    contents->tensors.clear();
    return BlockMask(std::move(contents));
  }
  const BoundProgram mask{&*contents->program, contents->tensors.data(), 1};
  program::check_programs(problem_of(shape, mask));
  collect(mask, shape, false, by_head, *contents);
  return BlockMask(std::move(contents));
}

namespace {

// The part of a dense mask under one block.
block_masks::BlockPart part_of(const MaskTensor& mask, const BlockMaskShape& shape, int64_t batch,
                               int64_t head, int64_t row, int64_t column) {
  block_masks::BlockPart part{static_cast<int32_t>(column), false, true};
  const int64_t q_end = std::min(shape.q_len, (row + 1) * shape.block_q);
  const int64_t k_end = std::min(shape.k_len, (column + 1) * shape.block_k);
  const uint8_t* data = mask.data + batch * mask.stride_batch + head * mask.stride_head;
  for (int64_t q = row * shape.block_q; q < q_end; ++q) {
    for (int64_t key = column * shape.block_k; key < k_end; ++key) {
      const bool sees = data[q * mask.stride_q + key * mask.stride_k] != 0;
      part.sees_any = part.sees_any || sees;
      part.sees_all = part.sees_all && sees;
    }
    if (part.sees_any && !part.sees_all) {
      break;
    }
  }
  return part;
}

}  // namespace

BlockMask create_block_mask(const MaskTensor& mask, const BlockMaskShape& shape) {
  auto contents = std::make_shared<BlockMask::Contents>();
  block_masks::set_shape(shape, *contents);
  if (mask.data == nullptr || mask.stride_batch < 0 || mask.stride_head < 0 || mask.stride_q < 0 ||
      mask.stride_k < 0) {
    throw Error(ErrorCode::invalid_argument,
                "block mask: a dense mask needs memory and strides of 0 or more");
  }
  const int64_t num_heads = mask.stride_head != 0 ? shape.heads : 1;
  const int64_t num_batches = mask.stride_batch != 0 ? shape.batch : 1;
  block_masks::BlockRows rows(static_cast<size_t>(contents->num_rows));
  for (int64_t batch = 0; batch < num_batches; ++batch) {
    for (int64_t head = 0; head < num_heads; ++head) {
      for (int64_t row = 0; row < contents->num_rows; ++row) {
        for (int64_t column = 0; column < contents->num_columns; ++column) {
          rows[static_cast<size_t>(row)].push_back(part_of(mask, shape, batch, head, row, column));
        }
      }
      block_masks::append_mask(rows, *contents);
    }
  }
  contents->stride_head = mask.stride_head != 0 ? 1 : 0;
  contents->stride_batch = mask.stride_batch != 0 ? num_heads : 0;
  contents->dense_mask = mask;
  return BlockMask(std::move(contents));
}

}  // namespace regard
