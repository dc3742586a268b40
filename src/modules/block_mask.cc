// BlockMask: its lists, and what can be read from them.
#include <algorithm>
#include <limits>
#include <string>

#include "core/block_mask.h"
#include "modules/block_mask_contents.h"
#include "regard/error.h"

namespace regard {
namespace block_masks {
namespace {

constexpr int64_t kLargestLength = std::numeric_limits<int32_t>::max();
constexpr int32_t kLargestBlock = 1 << 20;

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorCode::invalid_argument, "block mask: " + message);
}

void check_range(const char* name, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most) {
    fail(std::string(name) + " " + std::to_string(value) + ": must be from " +
         std::to_string(least) + " to " + std::to_string(most));
  }
}

void check_offsets(const char* name, const int32_t* offsets, int32_t count, int64_t length) {
  if (offsets == nullptr || offsets[0] != 0 || offsets[count] != length) {
    fail(std::string(name) + " must start at 0 and end at " + std::to_string(length));
  }
  for (int32_t i = 0; i < count; ++i) {
    if (offsets[i + 1] < offsets[i]) {
      fail(std::string(name) + " falls from " + std::to_string(offsets[i]) + " to " +
           std::to_string(offsets[i + 1]));
    }
  }
}

}  // namespace

void set_shape(const BlockMaskShape& shape, BlockMask::Contents& contents) {
  check_range("batch", shape.batch, 1, kLargestLength);
  check_range("heads", shape.heads, 1, kLargestLength);
  check_range("q_len", shape.q_len, 0, kLargestLength);
  check_range("k_len", shape.k_len, 0, kLargestLength);
  check_range("block_q", shape.block_q, 1, kLargestBlock);
  check_range("block_k", shape.block_k, 1, kLargestBlock);
  const Documents& documents = shape.documents;
  if (documents.count != 0) {
    check_range("batch of packed rows", shape.batch, 1, 1);
    check_range("documents.count", documents.count, 1, kLargestLength);
    if (documents.q_lengths != nullptr || documents.k_lengths != nullptr) {
      fail("documents with lengths of their own are not possible: give offsets only");
    }
    check_offsets("documents.q_offsets", documents.q_offsets, documents.count, shape.q_len);
    check_offsets("documents.k_offsets", documents.k_offsets, documents.count, shape.k_len);
  }
  contents.shape = shape;
  contents.shape.documents = {};  // the offsets are the caller's
  contents.blocks.set_blocks(shape.q_len, shape.k_len, shape.block_q, shape.block_k);
}

}  // namespace block_masks

const BlockMaskShape& BlockMask::shape() const { return contents_->shape; }

BlockMaskView BlockMask::view() const { return contents_->blocks.view(); }

BoundProgram BlockMask::mask_program() const {
  const Contents& contents = *contents_;
  if (!contents.program) {
    return {};
  }
  return {&*contents.program, contents.tensors.data(),
          static_cast<int32_t>(contents.tensors.size())};
}

MaskTensor BlockMask::dense_mask() const { return contents_->dense_mask; }

int64_t BlockMask::num_listed_blocks() const {
  return static_cast<int64_t>(contents_->blocks.columns.size());
}

int64_t BlockMask::num_full_blocks() const {
  return std::count(contents_->blocks.is_full.begin(), contents_->blocks.is_full.end(), uint8_t{1});
}

double BlockMask::sparsity() const {
  const Contents& contents = *contents_;
  const BlockMaskShape& shape = contents.shape;
  const double pairs = static_cast<double>(shape.q_len) * static_cast<double>(shape.k_len) *
                       static_cast<double>(contents.blocks.num_masks);
  double listed = 0.0;
  for (int64_t row = 0; row < contents.blocks.num_rows * contents.blocks.num_masks; ++row) {
    const int64_t first_query = row % contents.blocks.num_rows * shape.block_q;
    const int64_t queries = std::min<int64_t>(shape.block_q, shape.q_len - first_query);
    const auto begin = static_cast<size_t>(contents.blocks.row_offsets[static_cast<size_t>(row)]);
    const auto end = static_cast<size_t>(contents.blocks.row_offsets[static_cast<size_t>(row) + 1]);
    for (size_t i = begin; i < end; ++i) {
      const int64_t first_key = int64_t{contents.blocks.columns[i]} * shape.block_k;
      listed += static_cast<double>(queries) *
                static_cast<double>(std::min<int64_t>(shape.block_k, shape.k_len - first_key));
    }
  }
  return pairs == 0.0 ? 0.0 : 1.0 - listed / pairs;
}

std::vector<uint8_t> BlockMask::to_dense() const {
  const Contents& contents = *contents_;
  std::vector<uint8_t> blocks(
      static_cast<size_t>(contents.blocks.num_masks * contents.blocks.num_rows *
                          contents.blocks.num_columns),
      0);
  for (int64_t row = 0; row < contents.blocks.num_masks * contents.blocks.num_rows; ++row) {
    const auto begin = static_cast<size_t>(contents.blocks.row_offsets[static_cast<size_t>(row)]);
    const auto end = static_cast<size_t>(contents.blocks.row_offsets[static_cast<size_t>(row) + 1]);
    for (size_t i = begin; i < end; ++i) {
      blocks[static_cast<size_t>(row * contents.blocks.num_columns + contents.blocks.columns[i])] =
          contents.blocks.is_full[i] != 0 ? 2 : 1;
    }
  }
  return blocks;
}

std::string BlockMask::picture(int64_t batch, int64_t head, int32_t side) const {
  const Contents& contents = *contents_;
  if (batch < 0 || batch >= contents.shape.batch || head < 0 || head >= contents.shape.heads ||
      side < 1) {
    block_masks::fail("picture of batch row " + std::to_string(batch) + ", head " +
                      std::to_string(head) + ", side " + std::to_string(side) + ": the mask has " +
                      std::to_string(contents.shape.batch) + " rows and " +
                      std::to_string(contents.shape.heads) + " heads");
  }
  const int64_t largest = std::max(contents.blocks.num_rows, contents.blocks.num_columns);
  const int64_t step = std::max<int64_t>(1, (largest + side - 1) / side);
  std::string picture;
  for (int64_t row = 0; row < contents.blocks.num_rows; row += step) {
    for (int64_t column = 0; column < contents.blocks.num_columns; column += step) {
      const int64_t rows = std::min(step, contents.blocks.num_rows - row);
      const int64_t columns = std::min(step, contents.blocks.num_columns - column);
      int64_t num_listed = 0, num_full = 0;
      for (int64_t r = row; r < row + rows; ++r) {
        const core::BlockRow blocks =
            core::block_row_at(view(), batch, head, r * contents.shape.block_q);
        const int32_t end = blocks.lower_bound(column + columns);
        for (int32_t i = blocks.lower_bound(column); i < end; ++i) {
          ++num_listed;
          num_full += blocks.is_full[i];
        }
      }
      picture += num_listed == 0 ? '.' : num_full == rows * columns ? '#' : '+';
    }
    picture += '\n';
  }
  return picture;
}

}  // namespace regard
