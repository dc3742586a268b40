#include <algorithm>
#include <cmath>
#include <string>

#include "api/validate_parts.h"
#include "core/dtype.h"
#include "core/sequences.h"

namespace regard::api {
namespace {

// Keys that positions over the whole row count: with pages those of the longest sequence.
int64_t row_keys(const Problem& problem) {
  if (!core::is_paged(problem)) {
    return problem.k.seq;
  }
  int64_t longest = 0;
  for (int64_t i = 0; i < core::num_sequences(problem); ++i) {
    longest = std::max<int64_t>(longest, problem.pages.lengths[i]);
  }
  return longest;
}

int64_t num_blocks(int64_t length, int64_t block) { return (length + block - 1) / block; }

// Block row `row` (all masks counted) lists its columns ascending and in range.
void check_block_row(const BlockMaskView& mask, int64_t row, int64_t num_columns) {
  const int32_t begin = mask.row_offsets[row], end = mask.row_offsets[row + 1];
  if (begin < 0 || end < begin) {
    fail("block_mask.row_offsets[" + text(row + 1) + "] is " + text(end) +
         ": must not be less than the " + text(begin) + " before it, nor negative");
  }
  if (begin < end && mask.columns == nullptr) {
    fail("block_mask.columns is null: row " + text(row) + " lists " + text(end - begin) +
         " blocks");
  }
  for (int32_t i = begin; i < end; ++i) {
    const int32_t column = mask.columns[i];
    const std::string name = "block_mask.columns[" + text(i) + "] is " + text(column);
    if (column < 0 || column >= num_columns) {
      fail(name + ": must be from 0 to " + text(num_columns - 1) + ", the last block of " +
           text(mask.block_k) + " keys");
    }
    if (i > begin && column <= mask.columns[i - 1]) {
      fail(name + ": must be greater than the " + text(mask.columns[i - 1]) +
           " before it, columns ascend in a row");
    }
  }
}

template <class Enum>
void check_enum(const std::string& name, Enum value, Enum last, const std::string& names) {
  if (static_cast<uint8_t>(value) > static_cast<uint8_t>(last)) {
    fail(name + " " + text(static_cast<int>(value)) + ": must be " + names);
  }
}

}  // namespace

void check_scalars(const Problem& problem) {
  if (!std::isfinite(problem.scale)) {
    fail("scale " + std::to_string(problem.scale) + ": must be finite; 0 means 1/sqrt(D)");
  }
  if (!std::isfinite(problem.softcap) || problem.softcap < 0.0f) {
    fail("softcap " + std::to_string(problem.softcap) + ": must be finite and 0 (off) or more");
  }
  const float probability = problem.dropout.probability;
  if (!(probability >= 0.0f && probability < 1.0f)) {
    fail("dropout probability " + std::to_string(probability) +
         ": must be 0 or more and less than 1");
  }
  check_enum("causal", problem.causal, Causal::lower_right, "none, upper_left or lower_right");
  check_extent("first_query", problem.first_query, 0);
  if (problem.window.left < -1 || problem.window.right < -1) {
    fail("window (" + text(problem.window.left) + ", " + text(problem.window.right) +
         "): each side must be 0 or more, or -1 for no bound");
  }
}

void check_score_tensors(const Problem& problem) {
  const MaskTensor& mask = problem.mask;
  if (mask.data != nullptr) {
    check_strides("mask", {mask.stride_batch, mask.stride_head, mask.stride_q, mask.stride_k});
  }
  const BiasTensor& bias = problem.bias;
  if (bias.data != nullptr) {
    check_enum("bias.dtype", bias.dtype, DType::bf16, "f32, f16 or bf16");
    check_pointer("bias", bias.data, core::bytes_of(bias.dtype));
    check_strides("bias", {bias.stride_batch, bias.stride_head, bias.stride_q, bias.stride_k});
  }
  if (problem.alibi.slopes != nullptr) {
    check_pointer("alibi.slopes", problem.alibi.slopes, sizeof(float));
    check_strides("alibi", {problem.alibi.stride_batch, 0, 0, 0});
  }
  if (problem.sink.logits != nullptr) {
    check_pointer("sink.logits", problem.sink.logits, sizeof(float));
  }
}

void check_block_mask(const Problem& problem) {
  const BlockMaskView& mask = problem.block_mask;
  if (mask.row_offsets == nullptr) {
    return;
  }
  if (mask.block_q < 1 || mask.block_k < 1) {
    fail("block_mask blocks of " + text(mask.block_q) + " queries by " + text(mask.block_k) +
         " keys: both must be 1 or more");
  }
  if (const int64_t rows = num_blocks(problem.q.seq, mask.block_q); mask.num_rows != rows) {
    fail("block_mask.num_rows " + text(mask.num_rows) + ": must be " + text(rows) +
         ", the blocks of " + text(mask.block_q) + " in " + text(problem.q.seq) + " queries");
  }
  check_strides("block_mask", {mask.stride_batch, mask.stride_head, 0, 0});
  const int64_t num_columns = num_blocks(row_keys(problem), mask.block_k);
  for (int64_t batch = 0; batch < (mask.stride_batch == 0 ? 1 : problem.q.batch); ++batch) {
    for (int64_t head = 0; head < (mask.stride_head == 0 ? 1 : problem.q.heads); ++head) {
      const int64_t first = (batch * mask.stride_batch + head * mask.stride_head) * mask.num_rows;
      for (int64_t row = 0; row < mask.num_rows; ++row) {
        check_block_row(mask, first + row, num_columns);
      }
    }
  }
}

void check_precision(const Problem& problem) {
  const bool is_f8 = problem.q.dtype == DType::f8_e4m3;
  const Descale& descale = problem.descale;
  for (const float* factors : {descale.q, descale.k, descale.v}) {
    if (factors == nullptr) {
      continue;
    }
    if (!is_f8) {
      fail(std::string("descale factors with operands in ") + core::name_of(problem.q.dtype) +
           ": they belong to f8_e4m3; fold q's and k's into scale, v's into what reads o");
    }
    check_pointer("descale", factors, sizeof(float));
    if (descale.stride_batch != 0 && descale.stride_batch < problem.k.heads) {
      fail("descale.stride_batch " + text(descale.stride_batch) + ": must be 0 or k.heads " +
           text(problem.k.heads) + " or more");
    }
  }
  const Quantization& quantization = problem.quantization;
  check_enum("quantization.scores", quantization.scores, ScoreFormat::int8, "exact or int8");
  check_enum("quantization.groups", quantization.groups, ScaleGroups::per_thread,
             "per_block, per_warp or per_thread");
  check_enum("quantization.values", quantization.values, ValueFormat::f8_e4m3,
             "exact, f16 or f8_e4m3");
  const bool is_int8 = quantization.scores == ScoreFormat::int8;
  if (quantization.int8_backward && !is_int8) {
    fail("quantization.int8_backward with exact scores: set scores to int8, or it to false");
  }
  if (is_f8 && (is_int8 || quantization.values != ValueFormat::exact)) {
    fail(
        "quantization of f8_e4m3 operands: they are quantised already; give f32, f16 or bf16, or "
        "leave scores and values exact");
  }
}

}  // namespace regard::api
