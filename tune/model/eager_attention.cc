#include "tune/model/eager_attention.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

namespace tune::ops {
namespace {

// Rows [first, last) of [tokens, heads*D] as f32 [groups, rows * heads / groups, D] with the rows
// of a group's heads one after the other: query heads that share a key head are one matrix.
torch::Tensor grouped(const torch::Tensor& x, int64_t first, int64_t last, int64_t heads,
                      int64_t groups) {
  const int64_t count = last - first, dim = x.size(1) / heads;
  return x.narrow(0, first, count)
      .to(torch::kFloat32)
      .view({count, groups, heads / groups, dim})
      .permute({1, 2, 0, 3})
      .reshape({groups, heads / groups * count, dim});
}

// The way back: [groups, heads / groups * rows, D] to [rows, heads*D].
torch::Tensor ungrouped(const torch::Tensor& x, int64_t heads, int64_t count) {
  const int64_t groups = x.size(0), dim = x.size(2);
  return x.view({groups, heads / groups, count, dim})
      .permute({2, 0, 1, 3})
      .reshape({count, heads * dim});
}

// What one document's passes share.
struct Document {
  int64_t q_first, q_last, k_first, k_last;
  int64_t num_queries() const { return q_last - q_first; }
  int64_t num_keys() const { return k_last - k_first; }
  bool is_empty() const { return num_queries() == 0 || num_keys() == 0; }
};

std::vector<Document> documents_of(const EagerAttention& call) {
  std::vector<Document> documents;
  for (size_t i = 0; i + 1 < call.q_offsets.size(); ++i) {
    documents.push_back(
        {call.q_offsets[i], call.q_offsets[i + 1], call.k_offsets[i], call.k_offsets[i + 1]});
  }
  return documents;
}

// Scaled and masked scores [Hkv, Hq / Hkv * queries, keys].
torch::Tensor scores_of(const EagerAttention& call, const Document& document,
                        const torch::Tensor& q, const torch::Tensor& k) {
  const int64_t per_group = call.num_heads / call.num_kv_heads;
  const auto options = q.options().dtype(torch::kInt64);
  const int64_t num_queries = document.num_queries(), num_keys = document.num_keys();
  const torch::Tensor query =
      torch::arange(num_keys - num_queries, num_keys, options).repeat({per_group}).unsqueeze(1);
  const torch::Tensor key = torch::arange(num_keys, options).unsqueeze(0);
  torch::Tensor hidden = key > query;
  if (call.window) hidden.logical_or_(key <= query - *call.window);
  const double scale = 1.0 / std::sqrt(static_cast<double>(call.head_dim));
  return at::bmm(q, k.transpose(1, 2))
      .mul_(scale)
      .masked_fill_(hidden, -std::numeric_limits<float>::infinity());
}

}  // namespace

AttentionOutput EagerAttention::forward(const torch::Tensor& q, const torch::Tensor& k,
                                        const torch::Tensor& v) const {
  AttentionOutput output{torch::zeros_like(q), torch::full({num_heads, q.size(0)},
                                                           -std::numeric_limits<float>::infinity(),
                                                           q.options().dtype(torch::kFloat32))};
  for (const Document& document : documents_of(*this)) {
    if (document.is_empty()) continue;
    const int64_t count = document.num_queries();
    const auto queries = grouped(q, document.q_first, document.q_last, num_heads, num_kv_heads);
    const auto keys = grouped(k, document.k_first, document.k_last, num_kv_heads, num_kv_heads);
    const auto values = grouped(v, document.k_first, document.k_last, num_kv_heads, num_kv_heads);
    const torch::Tensor scores = scores_of(*this, document, queries, keys);
    const torch::Tensor lse = scores.logsumexp(2, true);
    const torch::Tensor o = at::bmm((scores - lse).exp_(), values);
    output.o.narrow(0, document.q_first, count).copy_(ungrouped(o, num_heads, count));
    output.lse.narrow(1, document.q_first, count).copy_(lse.view({num_heads, count}));
  }
  return output;
}

AttentionGradients EagerAttention::backward(const torch::Tensor& q, const torch::Tensor& k,
                                            const torch::Tensor& v, const AttentionOutput& output,
                                            const torch::Tensor& d_o) const {
  const double scale = 1.0 / std::sqrt(static_cast<double>(head_dim));
  AttentionGradients result{torch::zeros_like(q), torch::zeros_like(k), torch::zeros_like(v)};
  for (const Document& document : documents_of(*this)) {
    if (document.is_empty()) continue;
    const int64_t count = document.num_queries();
    const auto query_rows = [&](const torch::Tensor& x) {
      return grouped(x, document.q_first, document.q_last, num_heads, num_kv_heads);
    };
    const auto key_rows = [&](const torch::Tensor& x) {
      return grouped(x, document.k_first, document.k_last, num_kv_heads, num_kv_heads);
    };
    const torch::Tensor queries = query_rows(q), keys = key_rows(k), grads = query_rows(d_o);
    const torch::Tensor lse = output.lse.narrow(1, document.q_first, count)
                                  .reshape({num_kv_heads, num_heads / num_kv_heads * count, 1});
    const torch::Tensor weights = (scores_of(*this, document, queries, keys) - lse).exp_();
    const torch::Tensor delta = (grads * query_rows(output.o)).sum(2, true);
    const torch::Tensor d_scores =
        (at::bmm(grads, key_rows(v).transpose(1, 2)) - delta).mul_(weights).mul_(scale);
    const auto put = [&](const torch::Tensor& to, int64_t first, const torch::Tensor& rows,
                         int64_t heads, int64_t size) {
      to.narrow(0, first, size).copy_(ungrouped(rows, heads, size));
    };
    put(result.dq, document.q_first, at::bmm(d_scores, keys), num_heads, count);
    put(result.dk, document.k_first, at::bmm(d_scores.transpose(1, 2), queries), num_kv_heads,
        document.num_keys());
    put(result.dv, document.k_first, at::bmm(weights.transpose(1, 2), grads), num_kv_heads,
        document.num_keys());
  }
  return result;
}

}  // namespace tune::ops
