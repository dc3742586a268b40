#include "reference/quantize.h"

#include <algorithm>
#include <cstddef>

#include "core/int8_groups.h"
#include "reference/row.h"

namespace regard::reference {
namespace {

// A contiguous f32 view with the extents of `like` and `dim` elements a row.
View owned_view(const View& like, int64_t dim, std::vector<float>& memory) {
  memory.assign(static_cast<size_t>(like.batch * like.seq * like.heads * dim), 0.0f);
  return core::contiguous_view(like, DType::f32, dim, memory.data());
}

// The operand's row in f32, descaled.
void load_f32(const View& view, int64_t batch, int64_t seq, int64_t head, float factor,
              std::vector<float>& row) {
  row.resize(static_cast<size_t>(view.dim));
  const int64_t offset = core::row_offset(view, batch, seq, head);
  for (int64_t d = 0; d < view.dim; ++d) {
    row[static_cast<size_t>(d)] = core::load(view.data, view.dtype, offset + d) * factor;
  }
}

float descale_of(const float* factors, const Problem& problem, const core::Sequence& sequence,
                 int64_t kv_head) {
  return factors == nullptr ? 1.0f
                            : factors[sequence.index * problem.descale.stride_batch + kv_head];
}

// Rounds rows through int8 in place: row(i) is a pointer to row i.
template <class Row, class GroupOf>
void round_through_int8(int64_t num_rows, int64_t dim, int64_t num_groups, const Row& row,
                        const GroupOf& group_of) {
  std::vector<float> scales(static_cast<size_t>(num_groups));
  core::scales_of_rows(num_rows, dim, num_groups, row, group_of, scales.data());
  for (int64_t i = 0; i < num_rows; ++i) {
    const float scale = scales[static_cast<size_t>(group_of(i))];
    for (float* x = row(i); x != row(i) + dim; ++x) {
      *x = core::int8_of(*x, scale) * scale;
    }
  }
}

}  // namespace

bool is_quantized(const Problem& problem) {
  return problem.quantization.scores != ScoreFormat::exact ||
         problem.quantization.values != ValueFormat::exact;
}

SequenceOperands::SequenceOperands(const Problem& problem) : problem_(problem), selected_(problem) {
  if (!is_quantized(problem)) {
    return;
  }
  const int64_t scored_dim = problem.q.dim + (has_shift() ? 1 : 0);
  selected_.q = owned_view(problem.q, scored_dim, q_);
  selected_.k = owned_view(problem.k, scored_dim, k_);
  selected_.v = owned_view(problem.v, problem.v.dim, v_);
  selected_.scale = static_cast<float>(scale_of(problem));
  selected_.descale = {};
  selected_.quantization = {.scores = ScoreFormat::exact,
                            .values = problem.quantization.values,
                            .int8_backward = problem.quantization.int8_backward};
  mean_.assign(static_cast<size_t>(problem.k.heads * problem.k.dim), 0.0f);
}

bool SequenceOperands::has_shift() const {
  return problem_.quantization.scores == ScoreFormat::int8 && problem_.quantization.smooth_k;
}

const Problem& SequenceOperands::of(const core::Sequence& sequence) {
  if (!is_quantized(problem_)) {
    return problem_;
  }
  for (int64_t kv_head = 0; kv_head < problem_.k.heads; ++kv_head) {
    quantize_keys(sequence, kv_head);
    round_values(sequence, kv_head);
  }
  for (int64_t head = 0; head < problem_.q.heads; ++head) {
    quantize_queries(sequence, head);
  }
  return selected_;
}

void SequenceOperands::quantize_keys(const core::Sequence& sequence, int64_t kv_head) {
  const int64_t dim = problem_.k.dim;
  const float factor = descale_of(problem_.descale.k, problem_, sequence, kv_head);
  std::vector<float> loaded;
  const auto load = [&](int64_t key) {
    const core::KeyPlace place = core::key_place(problem_, sequence, key);
    load_f32(problem_.k, place.batch, place.seq, kv_head, factor, loaded);
    return loaded.data();
  };
  float* mean = mean_.data() + kv_head * dim;
  if (has_shift()) {
    std::vector<float> block_sum(static_cast<size_t>(dim));
    core::mean_of_rows(sequence.k_len, dim, load, block_sum.data(), mean);
  }
  const auto row = [&](int64_t key) {
    const core::KeyPlace place = core::key_place(problem_, sequence, key);
    return core::f32_row(selected_.k, place.batch, place.seq, kv_head);
  };
  for (int64_t key = 0; key < sequence.k_len; ++key) {
    const float* from = load(key);
    for (int64_t d = 0; d < dim; ++d) {
      row(key)[d] = from[d] - mean[d];
    }
    if (has_shift()) {
      row(key)[dim] = 1.0f;
    }
  }
  const ScaleGroups groups = problem_.quantization.groups;
  if (problem_.quantization.scores == ScoreFormat::int8) {
    round_through_int8(sequence.k_len, dim, core::num_key_groups(groups, sequence.k_len), row,
                       [&](int64_t key) { return core::key_group(groups, key); });
  }
}

void SequenceOperands::quantize_queries(const core::Sequence& sequence, int64_t head) {
  const int64_t dim = problem_.q.dim;
  const int64_t kv_head = core::kv_head_of(problem_, head);
  const float factor = descale_of(problem_.descale.q, problem_, sequence, kv_head);
  const float* mean = mean_.data() + kv_head * dim;
  const auto row = [&](int64_t query) {
    return core::f32_row(selected_.q, sequence.batch, sequence.q_begin + query, head);
  };
  std::vector<float> loaded;
  for (int64_t query = 0; query < sequence.q_len; ++query) {
    load_f32(problem_.q, sequence.batch, sequence.q_begin + query, head, factor, loaded);
    std::copy(loaded.begin(), loaded.end(), row(query));
    if (has_shift()) {
      double shift = 0;
      for (int64_t d = 0; d < dim; ++d) {
        shift += static_cast<double>(row(query)[d]) * mean[d];
      }
      row(query)[dim] = static_cast<float>(shift);
    }
  }
  const ScaleGroups groups = problem_.quantization.groups;
  if (problem_.quantization.scores == ScoreFormat::int8) {
    round_through_int8(sequence.q_len, dim, core::num_query_groups(groups, sequence.q_len), row,
                       [&](int64_t query) { return core::query_group(groups, query); });
  }
}

void SequenceOperands::round_values(const core::Sequence& sequence, int64_t kv_head) {
  const ValueFormat format = problem_.quantization.values;
  const float factor = descale_of(problem_.descale.v, problem_, sequence, kv_head);
  const auto num_channels = static_cast<size_t>(problem_.v.dim);
  std::vector<uint32_t> largest(num_channels, 0);
  std::vector<float> loaded;
  const auto row = [&](int64_t key) {
    const core::KeyPlace place = core::key_place(problem_, sequence, key);
    return core::f32_row(selected_.v, place.batch, place.seq, kv_head);
  };
  for (int64_t key = 0; key < sequence.k_len; ++key) {
    const core::KeyPlace place = core::key_place(problem_, sequence, key);
    load_f32(problem_.v, place.batch, place.seq, kv_head, factor, loaded);
    std::copy(loaded.begin(), loaded.end(), row(key));
    for (size_t d = 0; d < num_channels; ++d) {
      largest[d] = core::max_magnitude_bits(&loaded[d], 1, largest[d]);
    }
  }
  for (int64_t key = 0; key < sequence.k_len; ++key) {
    for (size_t d = 0; d < num_channels; ++d) {
      const float scale = core::scale_of_group(largest[d], core::kLargestE4m3);
      row(key)[d] = core::rounded_value(format, row(key)[d], scale);
    }
  }
}

void SequenceOperands::finish_dq(int64_t kv_head, std::vector<double>& dq) const {
  if (!has_shift()) {
    return;
  }
  const double shift = dq.back();
  dq.pop_back();
  for (size_t d = 0; d < dq.size(); ++d) {
    dq[d] += shift * mean_[static_cast<size_t>(kv_head) * dq.size() + d];
  }
}

}  // namespace regard::reference
