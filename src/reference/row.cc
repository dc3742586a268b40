#include "reference/row.h"

#include <cmath>

#include "core/dtype.h"
#include "core/int8_groups.h"
#include "core/mask.h"
#include "core/philox.h"

namespace regard::reference {
namespace {

// Masks and biases count queries and keys over the whole row, also under packing.
bool mask_allows(const Problem& problem, const RowPosition& at, int64_t key) {
  const MaskTensor& mask = problem.mask;
  if (mask.data == nullptr) {
    return true;
  }
  return mask.data[at.sequence.batch * mask.stride_batch + at.head * mask.stride_head +
                   (at.sequence.q_begin + at.query) * mask.stride_q +
                   (at.sequence.k_begin + key) * mask.stride_k] != 0;
}

double bias_of(const Problem& problem, const RowPosition& at, int64_t key) {
  const BiasTensor& bias = problem.bias;
  if (bias.data == nullptr) {
    return 0;
  }
  return core::load(bias.data, bias.dtype,
                    at.sequence.batch * bias.stride_batch + at.head * bias.stride_head +
                        (at.sequence.q_begin + at.query) * bias.stride_q +
                        (at.sequence.k_begin + key) * bias.stride_k);
}

double alibi_of(const Problem& problem, const RowPosition& at, int64_t key) {
  const Alibi& alibi = problem.alibi;
  if (alibi.slopes == nullptr) {
    return 0;
  }
  const double slope = alibi.slopes[at.sequence.batch * alibi.stride_batch + at.head];
  return -slope * static_cast<double>(core::alibi_distance(at.sequence, at.query, key));
}

double softcapped(double score, double softcap) {
  return softcap > 0 ? softcap * std::tanh(score / softcap) : score;
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
void normalise(Row& row, ValueFormat format) {
  double largest = -std::numeric_limits<double>::infinity();
  for (const SeenKey& seen : row.keys) {
    if (!(seen.score <= largest)) {  // a NaN score must not hide behind -inf
      largest = seen.score;
    }
  }
  if (largest == -std::numeric_limits<double>::infinity()) {
    row.keys.clear();  // a bias of -inf masks as well as a mask does
    return;
  }
  double sum = 0;
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
  row.lse = largest + std::log(sum);
}

}  // namespace

double scale_of(const Problem& problem) {
  return problem.scale != 0.0f ? static_cast<double>(problem.scale)
                               : 1.0 / std::sqrt(static_cast<double>(problem.q.dim));
}

Row softmax_row(const Problem& problem, const RowPosition& at) {
  const core::Sequence& sequence = at.sequence;
  const std::vector<double> q =
      load_row(problem.q, sequence.batch, sequence.q_begin + at.query, at.head);
  const int64_t kv_head = core::kv_head_of(problem, at.head);
  const core::KeyInterval interval = core::key_interval(problem, sequence, at.head, at.query);
  Row row;
  for (int64_t key = interval.lo; key < interval.hi; ++key) {
    if (!mask_allows(problem, at, key)) {
      continue;
    }
    const std::vector<double> k =
        load_row(problem.k, sequence.batch, sequence.k_begin + key, kv_head);
    const double capped = softcapped(scale_of(problem) * dot(q, k), problem.softcap);
    row.keys.push_back({.key = key,
                        .capped = capped,
                        .score = capped + bias_of(problem, at, key) + alibi_of(problem, at, key),
                        .weight = 0,
                        .rounded_weight = 0,
                        .multiplier = dropout_multiplier(problem, at, key)});
  }
  normalise(row, problem.quantization.values);
  return row;
}

std::vector<double> load_row(const View& view, int64_t batch, int64_t seq, int64_t head) {
  std::vector<double> values(static_cast<size_t>(view.dim));
  const int64_t offset = core::row_offset(view, batch, seq, head);
  for (int64_t d = 0; d < view.dim; ++d) {
    values[static_cast<size_t>(d)] = core::load(view.data, view.dtype, offset + d);
  }
  return values;
}

void store_row(const View& view, int64_t batch, int64_t seq, int64_t head,
               const std::vector<double>& values) {
  const int64_t offset = core::row_offset(view, batch, seq, head);
  for (int64_t d = 0; d < view.dim; ++d) {
    core::store(view.data, view.dtype, offset + d,
                static_cast<float>(values[static_cast<size_t>(d)]));
  }
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

}  // namespace regard::reference
