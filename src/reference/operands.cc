#include "reference/operands.h"

#include "core/dtype.h"

namespace regard::reference {
namespace {

std::vector<double> load_row(const View& view, int64_t batch, int64_t seq, int64_t head,
                             double factor) {
  std::vector<double> values(static_cast<size_t>(view.dim));
  const int64_t offset = core::row_offset(view, batch, seq, head);
  for (int64_t d = 0; d < view.dim; ++d) {
    values[static_cast<size_t>(d)] = factor * core::load(view.data, view.dtype, offset + d);
  }
  return values;
}

double descale_factor(const Problem& problem, const float* factors, const core::Sequence& sequence,
                      int64_t kv_head) {
  return factors == nullptr ? 1.0
                            : factors[sequence.index * problem.descale.stride_batch + kv_head];
}

Rows load_keys(const Problem& problem, const View& view, const core::Sequence& sequence,
               int64_t kv_head, double factor) {
  Rows rows;
  for (int64_t key = 0; key < sequence.k_len; ++key) {
    const core::KeyPlace place = core::key_place(problem, sequence, key);
    rows.push_back(load_row(view, place.batch, place.seq, kv_head, factor));
  }
  return rows;
}

}  // namespace

HeadOperands load_head(const Problem& problem, const core::Sequence& sequence, int64_t head) {
  const int64_t kv_head = core::kv_head_of(problem, head);
  const Descale& descale = problem.descale;
  HeadOperands operands{
      .q = load_queries(problem.q, sequence, head),
      .k = load_keys(problem, problem.k, sequence, kv_head,
                     descale_factor(problem, descale.k, sequence, kv_head)),
      .v = load_keys(problem, problem.v, sequence, kv_head,
                     descale_factor(problem, descale.v, sequence, kv_head)),
  };
  const double q_factor = descale_factor(problem, descale.q, sequence, kv_head);
  for (std::vector<double>& q : operands.q) {
    for (double& value : q) {
      value *= q_factor;
    }
  }
  return operands;
}

Rows load_queries(const View& view, const core::Sequence& sequence, int64_t head) {
  Rows rows;
  for (int64_t query = 0; query < sequence.q_len; ++query) {
    rows.push_back(load_row(view, sequence.batch, sequence.q_begin + query, head, 1.0));
  }
  return rows;
}

void store_row(const View& view, int64_t batch, int64_t seq, int64_t head,
               const std::vector<double>& values) {
  const int64_t offset = core::row_offset(view, batch, seq, head);
  for (int64_t d = 0; d < view.dim; ++d) {
    core::store(view.data, view.dtype, offset + d,
                static_cast<float>(values[static_cast<size_t>(d)]));
  }
}

void store_zeros(const View& view) {
  const std::vector<double> zeros(static_cast<size_t>(view.dim), 0.0);
  for (int64_t batch = 0; batch < view.batch; ++batch) {
    for (int64_t seq = 0; seq < view.seq; ++seq) {
      for (int64_t head = 0; head < view.heads; ++head) {
        store_row(view, batch, seq, head, zeros);
      }
    }
  }
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

void add(std::vector<double>& sum, double factor, const std::vector<double>& values) {
  for (size_t d = 0; d < sum.size(); ++d) {
    sum[d] += factor * values[d];
  }
}

}  // namespace regard::reference
