#include "tests/support/attention_case.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "api/describe.h"
#include "core/dtype.h"
#include "program/evaluate.h"
#include "tests/support/visible_pairs.h"

namespace regard::testing {
namespace {

std::vector<float> random_values(int64_t count, float magnitude, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, magnitude);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = normal(engine);
  }
  return values;
}

void fill_randomly(GuardedTensor& tensor, float magnitude, uint32_t seed) {
  tensor.fill(random_values(shape_of(tensor.view()).num_elements(), magnitude, seed));
}

struct ScoreStrides {
  int64_t batch, head, query, key;
};

ScoreStrides score_strides(const AttentionCase& config) {
  switch (config.broadcast) {
    case Broadcast::over_batch_and_head:
      return {0, 0, config.sk, 1};
    case Broadcast::over_head_and_query:
      return {config.sk, 0, 0, 1};
    case Broadcast::over_key:
      return {0, config.sq, 1, 0};
    default:
      return {config.q_heads * config.sq * config.sk, config.sq * config.sk, config.sk, 1};
  }
}

int64_t num_sequences(const AttentionCase& config) {
  return config.documents.empty() ? config.batch : static_cast<int64_t>(config.documents.size());
}

// Left padding is at most a page, so that one more page a sequence is always enough.
int64_t pages_of_sequence(const AttentionCase& config) {
  return (config.sk + config.page_size - 1) / config.page_size + 1;
}

Shape key_shape(const AttentionCase& config, int64_t dim) {
  if (config.page_size > 0) {
    return {num_sequences(config) * pages_of_sequence(config), config.page_size, config.kv_heads,
            dim};
  }
  return {config.batch, config.sk, config.kv_heads, dim};
}

}  // namespace

bool has_backward(const Problem& problem) {
  return !core::is_paged(problem) && problem.q.dtype != DType::f8_e4m3;
}

CaseOperands::CaseOperands(const AttentionCase& c)
    : q_(c.dtype, {c.batch, c.sq, c.q_heads, c.d}, c.layout),
      k_(c.dtype, key_shape(c, c.d), c.layout),
      v_(c.dtype, key_shape(c, c.dv), c.layout),
      d_o_(c.result_dtype(), {c.batch, c.sq, c.q_heads, c.dv}, c.layout),
      d_lse_(c.batch, c.q_heads, c.sq),
      has_d_lse_(c.has_d_lse),
      asks_score_gradients_(c.asks_score_gradients),
      programs_(c.program, c.q_heads, c.seed + 10) {
  fill_randomly(q_, c.q_magnitude, c.seed);
  fill_randomly(k_, 1.0f, c.seed + 1);
  fill_randomly(v_, 1.0f, c.seed + 2);
  fill_randomly(d_o_, 1.0f, c.seed + 3);
  d_lse_.fill(random_values(c.batch * c.sq * c.q_heads, 1.0f, c.seed + 4));
  problem_.q = q_.view();
  problem_.k = k_.view();
  problem_.v = v_.view();
  problem_.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.d)));
  problem_.causal = c.causal;
  problem_.window = c.window;
  problem_.chunks = c.chunks;
  problem_.softcap = c.softcap;
  problem_.dropout = {.probability = c.dropout, .seed = 0x9E3779B97F4A7C15u + c.seed};
  add_documents(c);
  add_pages(c);
  add_mask_and_bias(c);
  programs_.put_into(problem_);
  add_block_mask(c);
  add_head_terms(c);
  if (c.change) {
    c.change(problem_);
  }
  if (c.has_nan_keys) {
    fill_unseen_keys_with_nan();
  }
}

// With unowned rows, documents have lengths, and keys lie in the opposite order of queries.
void CaseOperands::add_documents(const AttentionCase& config) {
  if (config.documents.empty()) {
    return;
  }
  int32_t q_begin = 0, k_begin = 0, k_end = static_cast<int32_t>(config.sk);
  for (const auto& [q_length, k_length] : config.documents) {
    q_offsets_.push_back(q_begin);
    q_lengths_.push_back(q_length);
    q_begin += q_length + config.unowned;
    k_end -= k_length + config.unowned;
    k_offsets_.push_back(config.unowned > 0 ? k_end : k_begin);
    k_lengths_.push_back(k_length);
    k_begin += k_length;
  }
  problem_.documents = {.q_offsets = q_offsets_.data(),
                        .k_offsets = k_offsets_.data(),
                        .count = static_cast<int32_t>(config.documents.size())};
  if (config.unowned > 0) {
    problem_.documents.q_lengths = q_lengths_.data();
    problem_.documents.k_lengths = k_lengths_.data();
  } else {
    q_offsets_.push_back(q_begin);
    k_offsets_.push_back(k_begin);
    problem_.documents.q_offsets = q_offsets_.data();
    problem_.documents.k_offsets = k_offsets_.data();
  }
}

// Every sequence's pages lie scattered; odd sequences begin inside their first page.
void CaseOperands::add_pages(const AttentionCase& config) {
  if (config.page_size == 0) {
    return;
  }
  const int64_t stride = pages_of_sequence(config);
  page_table_.resize(static_cast<size_t>(num_sequences(config) * stride));
  std::iota(page_table_.begin(), page_table_.end(), 0);
  std::shuffle(page_table_.begin(), page_table_.end(), std::mt19937(config.seed + 7));
  for (int64_t i = 0; i < num_sequences(config); ++i) {
    const auto all = static_cast<int32_t>(config.sk);
    page_lengths_.push_back(config.documents.empty()
                                ? all - static_cast<int32_t>(i) * (all / 3)
                                : config.documents[static_cast<size_t>(i)].second);
    page_starts_.push_back(i % 2 == 0 ? 0 : config.page_size / 2);
  }
  problem_.pages = {.table = page_table_.data(),
                    .stride = stride,
                    .lengths = page_lengths_.data(),
                    .starts = page_starts_.data()};
  problem_.documents.k_offsets = nullptr;
  problem_.documents.k_lengths = nullptr;
}

void CaseOperands::add_mask_and_bias(const AttentionCase& config) {
  const ScoreStrides strides = score_strides(config);
  const auto count = static_cast<size_t>(
      config.batch * config.q_heads * config.sq * std::max<int64_t>(config.sk, 1) + 1);
  std::mt19937 engine(config.seed + 5);
  if (config.has_mask) {
    mask_.resize(count);
    for (uint8_t& allowed : mask_) {
      allowed = engine() % 3 == 0 ? 0 : static_cast<uint8_t>(1 + engine() % 255);
    }
    problem_.mask = {mask_.data(), strides.batch, strides.head, strides.query, strides.key};
  }
  if (config.has_bias) {
    bias32_ = random_values(static_cast<int64_t>(count), 1.0f, config.seed + 6);
    for (float& bias : bias32_) {  // some keys are masked by the bias
      bias = engine() % 16 == 0 ? -std::numeric_limits<float>::infinity() : bias;
    }
    const DType dtype = config.result_dtype();
    const bool is_f32 = dtype == DType::f32;
    bias16_.resize(is_f32 ? 0 : count);
    for (size_t i = 0; i < bias16_.size(); ++i) {
      core::store(bias16_.data(), dtype, static_cast<int64_t>(i), bias32_[i]);
    }
    problem_.bias = {is_f32 ? static_cast<const void*>(bias32_.data()) : bias16_.data(),
                     dtype,
                     strides.batch,
                     strides.head,
                     strides.query,
                     strides.key};
  }
}

// Whether the mask program, which no case lets depend on batch and head, sees every pair of a
// block.
bool CaseOperands::program_sees_block(const AttentionCase& config, int64_t row,
                                      int64_t column) const {
  for (int64_t i = 0; i < core::num_sequences(problem_); ++i) {
    const core::Sequence sequence = core::sequence_at(problem_, i);
    for (int64_t query = 0; query < sequence.q_len; ++query) {
      for (int64_t key = 0; key < sequence.k_len; ++key) {
        const bool is_inside = (sequence.q_begin + query) / config.block_q == row &&
                               (sequence.k_begin + key) / config.block_k == column;
        if (is_inside && evaluate(problem_.mask_program,
                                  program::point_of(problem_, sequence, 0, query, key)) == 0) {
          return false;
        }
      }
    }
  }
  return true;
}

// One mask a batch row and head, or one for all; about half of the blocks are listed, and about
// half of those that may be are full.
void CaseOperands::add_block_mask(const AttentionCase& config) {
  if (config.block_q == 0) {
    return;
  }
  const bool is_shared = config.broadcast != Broadcast::full;
  const int64_t num_rows = (config.sq + config.block_q - 1) / config.block_q;
  const int64_t num_keys = page_lengths_.empty()
                               ? config.sk
                               : *std::max_element(page_lengths_.begin(), page_lengths_.end());
  const int64_t num_columns = (num_keys + config.block_k - 1) / config.block_k;
  const int64_t num_masks = is_shared ? 1 : config.batch * config.q_heads;
  std::mt19937 engine(config.seed + 8);
  block_offsets_ = {0};
  for (int64_t row = 0; row < num_masks * num_rows; ++row) {
    for (int64_t column = 0; column < num_columns; ++column) {
      if (engine() % 2 == 0) {
        block_columns_.push_back(static_cast<int32_t>(column));
        const bool may_be_full = problem_.mask_program.program == nullptr ||
                                 program_sees_block(config, row % num_rows, column);
        full_blocks_.push_back(may_be_full ? static_cast<uint8_t>(engine() % 2) : 0);
      }
    }
    block_offsets_.push_back(static_cast<int32_t>(block_columns_.size()));
  }
  block_columns_.push_back(0);  // no null pointer for an empty list
  full_blocks_.push_back(0);
  problem_.block_mask = {.row_offsets = block_offsets_.data(),
                         .columns = block_columns_.data(),
                         .is_full = full_blocks_.data(),
                         .block_q = config.block_q,
                         .block_k = config.block_k,
                         .num_rows = num_rows,
                         .stride_batch = is_shared ? 0 : config.q_heads,
                         .stride_head = is_shared ? 0 : 1};
}

void CaseOperands::add_head_terms(const AttentionCase& config) {
  if (config.has_alibi) {
    for (int64_t i = 0; i < config.batch * config.q_heads; ++i) {
      slopes_.push_back(std::exp2(-static_cast<float>(i % 8 + 1)));
    }
    const bool is_shared = config.broadcast != Broadcast::full;
    problem_.alibi = {.slopes = slopes_.data(), .stride_batch = is_shared ? 0 : config.q_heads};
  }
  if (config.has_sink) {
    sink_ = random_values(config.q_heads, 1.0f, config.seed + 9);
    problem_.sink = {sink_.data()};
  }
  if (config.has_descale) {
    const int64_t rows = num_sequences(config) * config.kv_heads;
    for (int64_t i = 0; i < 3 * rows; ++i) {
      descale_.push_back(0.5f + 0.25f * static_cast<float>(i % 5));
    }
    problem_.descale = {.q = descale_.data(),
                        .k = descale_.data() + rows,
                        .v = descale_.data() + 2 * rows,
                        .stride_batch = config.kv_heads};
  }
}

void CaseOperands::fill_unseen_keys_with_nan() {
  const View& k = problem_.k;
  std::vector<bool> is_seen(static_cast<size_t>(k.batch * k.seq * k.heads), false);
  const auto place_of = [&](int64_t batch, int64_t seq, int64_t head) {
    return static_cast<size_t>((batch * k.seq + seq) * k.heads + head);
  };
  for (int64_t i = 0; i < core::num_sequences(problem_); ++i) {
    const core::Sequence sequence = core::sequence_at(problem_, i);
    for (int64_t head = 0; head < problem_.q.heads; ++head) {
      for (int64_t query = 0; query < sequence.q_len; ++query) {
        for (int64_t key = 0; key < sequence.k_len; ++key) {
          const core::KeyPlace place = core::key_place(problem_, sequence, key);
          const size_t at = place_of(place.batch, place.seq, core::kv_head_of(problem_, head));
          is_seen[at] = is_seen[at] || sees(problem_, sequence, head, query, key);
        }
      }
    }
  }
  for (const View* view : {&problem_.k, &problem_.v}) {
    for (int64_t batch = 0; batch < k.batch; ++batch) {
      for (int64_t seq = 0; seq < k.seq; ++seq) {
        for (int64_t head = 0; head < k.heads; ++head) {
          const int64_t row = core::row_offset(*view, batch, seq, head);
          for (int64_t d = 0; d < view->dim && !is_seen[place_of(batch, seq, head)]; ++d) {
            core::store(view->data, view->dtype, row + d, std::nanf(""));
          }
        }
      }
    }
  }
}

std::string AttentionCase::id() const {
  if (!name.empty()) {
    return name;
  }
  const CaseOperands operands(*this);
  std::string text = api::describe(operands.problem());
  text += layout == Layout::bshd ? "_bshd" : layout == Layout::bhsd ? "_bhsd" : "_sliced";
  constexpr const char* kBroadcasts[] = {"", "_queryxkey", "_key", "_headxquery"};
  text += kBroadcasts[static_cast<int>(broadcast)];
  text += has_d_lse ? "_dlse" : "";
  text += q_magnitude > 1.0f ? "_large" : "";
  text += has_nan_keys ? "_nankeys" : "";
  text += asks_score_gradients ? "_scoregradients" : "";
  if (program != 0) {
    text += "_program" + std::to_string(program);
  }
  if (gradient_dtype != dtype) {
    text += std::string("_grad") + core::name_of(gradient_dtype);
  }
  return text + "_seed" + std::to_string(seed);
}

}  // namespace regard::testing
