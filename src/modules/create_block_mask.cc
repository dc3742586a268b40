// Block masks from programs, spans of keys and dense masks.
#include <algorithm>
#include <memory>
#include <string>

#include "modules/block_mask_contents.h"
#include "program/bound.h"
#include "program/check.h"
#include "regard/error.h"

namespace regard {
namespace {

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
  contents->blocks = program::block_lists_of(problem_of(shape, mask), shape.block_q, shape.block_k,
                                             program::Decision::exact);
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
  contents->program =
      mask_program([&](const Value&, const Value& h, const Value& q, const Value& kv) {
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
  contents->blocks = program::block_lists_of(problem_of(shape, mask), shape.block_q, shape.block_k,
                                             program::Decision::exact);
  return BlockMask(std::move(contents));
}

namespace {

// The part of a dense mask under one block.
program::BlockPart part_of(const MaskTensor& mask, const BlockMaskShape& shape, int64_t batch,
                           int64_t head, int64_t row, int64_t column) {
  program::BlockPart part{static_cast<int32_t>(column), false, true};
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
  program::BlockLists& blocks = contents->blocks;
  std::vector<std::vector<program::BlockPart>> rows(static_cast<size_t>(blocks.num_rows));
  for (int64_t batch = 0; batch < num_batches; ++batch) {
    for (int64_t head = 0; head < num_heads; ++head) {
      for (int64_t row = 0; row < blocks.num_rows; ++row) {
        for (int64_t column = 0; column < blocks.num_columns; ++column) {
          rows[static_cast<size_t>(row)].push_back(part_of(mask, shape, batch, head, row, column));
        }
      }
      blocks.append(rows);
    }
  }
  blocks.stride_head = mask.stride_head != 0 ? 1 : 0;
  blocks.stride_batch = mask.stride_batch != 0 ? num_heads : 0;
  contents->dense_mask = mask;
  return BlockMask(std::move(contents));
}

}  // namespace regard
