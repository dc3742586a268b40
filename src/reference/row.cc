#include "reference/row.h"

#include <cmath>

#include "core/dtype.h"
#include "core/int8_groups.h"
#include "core/mask.h"
#include "core/philox.h"

namespace regard::reference {
namespace {

// Mask tensors, biases and block masks count queries and keys over the whole row, also under
// packing.
int64_t row_query(const RowPosition& at) { return at.sequence.q_begin + at.query; }
int64_t row_key(const RowPosition& at, int64_t key) { return at.sequence.k_begin + key; }

bool mask_allows(const Problem& problem, const RowPosition& at, int64_t key) {
  const MaskTensor& mask = problem.mask;
  return mask.data == nullptr ||
         mask.data[at.sequence.batch * mask.stride_batch + at.head * mask.stride_head +
                   row_query(at) * mask.stride_q + row_key(at, key) * mask.stride_k] != 0;
}

// What the block mask says of a pair: `full` needs no mask program.
enum class Block : uint8_t { hidden, partial, full };

Block block_of(const Problem& problem, const RowPosition& at, int64_t key) {
  const BlockMaskView& blocks = problem.block_mask;
  if (blocks.row_offsets == nullptr) {
    return Block::partial;
  }
  const int64_t mask = at.sequence.batch * blocks.stride_batch + at.head * blocks.stride_head;
  const int64_t block_row = mask * blocks.num_rows + row_query(at) / blocks.block_q;
  for (int32_t i = blocks.row_offsets[block_row]; i < blocks.row_offsets[block_row + 1]; ++i) {
    if (blocks.columns[i] == row_key(at, key) / blocks.block_k) {
      return blocks.is_full != nullptr && blocks.is_full[i] != 0 ? Block::full : Block::partial;
    }
  }
  return Block::hidden;
}

bool sees(Head& head, const RowPosition& at, int64_t key) {
  const Problem& problem = head.problem;
  const Block block = block_of(problem, at, key);
  if (!mask_allows(problem, at, key) || block == Block::hidden) {
    return false;
  }
  return !head.mask_program || block == Block::full ||
         head.mask_program->value(
             program::point_of(problem, at.sequence, at.head, at.query, key)) != 0;
}

double bias_of(const Problem& problem, const RowPosition& at, int64_t key) {
  const BiasTensor& bias = problem.bias;
  if (bias.data == nullptr) {
    return 0;
  }
  return core::load(bias.data, bias.dtype,
                    at.sequence.batch * bias.stride_batch + at.head * bias.stride_head +
                        row_query(at) * bias.stride_q + row_key(at, key) * bias.stride_k);
}

double alibi_of(const Problem& problem, const RowPosition& at, int64_t key) {
  const Alibi& alibi = problem.alibi;
  if (alibi.slopes == nullptr) {
    return 0;
  }
  const double slope = alibi.slopes[at.sequence.batch * alibi.stride_batch + at.head];
  return -slope * static_cast<double>(core::alibi_distance(at.sequence, at.query, key));
}

// x, its parts and d x / d s from the scaled score s.
SeenKey scored(Head& head, const RowPosition& at, int64_t key, double scaled) {
  const Problem& problem = head.problem;
  SeenKey seen{.key = key, .capped = scaled};
  if (problem.softcap > 0) {
    const double tanh = std::tanh(scaled / problem.softcap);
    seen.capped = problem.softcap * tanh;
    seen.slope = 1 - tanh * tanh;
  }
  seen.score = seen.capped;
  if (head.score_program) {
    const ProgramPoint point =
        program::point_of(problem, at.sequence, at.head, at.query, key, seen.capped);
    seen.score = head.score_program->value(point);
    seen.slope *= head.score_program->d_score(point);
  }
  seen.score += bias_of(problem, at, key) + alibi_of(problem, at, key);
  return seen;
}

double dropout_multiplier(const Problem& problem, const RowPosition& at, int64_t key) {
  const Dropout& dropout = problem.dropout;
  if (dropout.probability == 0.0f) {
    return 1;
  }
  const bool kept = core::is_kept(dropout, at.sequence.index, at.head, at.query, key);
  return kept ? 1.0 / (1.0 - static_cast<double>(dropout.probability)) : 0.0;
}

// Turns scores into weights. The largest score is taken out first, so that no exp overflows.
void normalise(const Problem& problem, const RowPosition& at, Row& row) {
  const double minus_infinity = -std::numeric_limits<double>::infinity();
  const double sink =
      problem.sink.logits != nullptr ? double{problem.sink.logits[at.head]} : minus_infinity;
  double largest = sink;
  for (const SeenKey& seen : row.keys) {
    if (!(seen.score <= largest)) {  // a NaN score must not hide behind -inf
      largest = seen.score;
    }
  }
  if (largest == minus_infinity) {
    row.keys.clear();  // a bias of -inf masks as well as a mask does
    return;
  }
  const ValueFormat format = problem.quantization.values;
  row.sink_weight = std::exp(sink - largest);
  double sum = row.sink_weight;
  for (SeenKey& seen : row.keys) {
    seen.weight = std::exp(seen.score - largest);
    sum += seen.weight;
    seen.rounded_weight = format == ValueFormat::exact
                              ? seen.weight
                              : core::rounded_weight(format, static_cast<float>(seen.weight));
  }
  for (SeenKey& seen : row.keys) {
    seen.rounded_weight /= sum;
    seen.weight /= sum;  // not exp(score - lse): a score of -3e38 swallows the logarithm
  }
  row.sink_weight /= sum;
  row.lse = largest + std::log(sum);
}

}  // namespace

double scale_of(const Problem& problem) {
  return problem.scale != 0.0f ? static_cast<double>(problem.scale)
                               : 1.0 / std::sqrt(static_cast<double>(problem.q.dim));
}

Head::Head(const Problem& the_problem, const core::Sequence& sequence, int64_t head)
    : problem(the_problem), operands(load_head(problem, sequence, head)) {
  if (problem.score_program.program != nullptr) {
    score_program.emplace(problem.score_program);
  }
  if (problem.mask_program.program != nullptr) {
    mask_program.emplace(problem.mask_program);
  }
}

Row softmax_row(Head& head, const RowPosition& at) {
  const Problem& problem = head.problem;
  const core::KeyInterval interval = core::key_interval(problem, at.sequence, at.head, at.query);
  const std::vector<double>& q = head.operands.q[static_cast<size_t>(at.query)];
  Row row;
  for (int64_t key = interval.lo; key < interval.hi; ++key) {
    if (sees(head, at, key)) {
      const double score = scale_of(problem) * dot(q, head.operands.k[static_cast<size_t>(key)]);
      row.keys.push_back(scored(head, at, key, score));
      row.keys.back().multiplier = dropout_multiplier(problem, at, key);
    }
  }
  normalise(problem, at, row);
  return row;
}

}  // namespace regard::reference
