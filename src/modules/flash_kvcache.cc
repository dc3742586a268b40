// flash_attn_with_kvcache: append, rotate, attend. A cache is pages to the engine: where the caller
// has no block table, each row of the cache is one page.
#include <algorithm>
#include <string>
#include <vector>

#include "core/sequences.h"
#include "modules/checks.h"
#include "modules/flash_lowering.h"

namespace regard {
namespace {

constexpr const char* kFunction = "flash_attn_with_kvcache";

[[noreturn]] void fail(const std::string& message) { flash::fail(kFunction, message); }

using flash::at;

// One sequence of the call: rows of q and of the new keys, and where the cache stands.
struct CachedSequence {
  int64_t q_batch, q_begin, q_len;
  int64_t new_batch, new_begin, new_len;
  int64_t old_len;  // rows of the cache before the new ones, left padding included
};

bool appends(const KvCacheArguments& cache) { return cache.k.data != nullptr; }

void check_arguments(const View& q, const KvCacheArguments& cache) {
  if (cache.block_table != nullptr && cache.cache_batch_idx != nullptr) {
    fail("cache_batch_idx together with block_table: the table says where each sequence lies");
  }
  if ((cache.k.data == nullptr) != (cache.v.data == nullptr)) {
    fail("one of the new k and v is given: give both or neither");
  }
  if (appends(cache) && cache.cache_seqlens == nullptr) {
    fail("new k and v without cache_seqlens: a full cache has no room for them");
  }
  if (cache.rotary.cos != nullptr && !appends(cache)) {
    fail("a rotary table without new k and v: rotate q yourself where nothing is appended");
  }
  if (cache.cu_seqlens_q != nullptr && (cache.count < 1 || q.batch != 1)) {
    fail("cu_seqlens_q with count " + std::to_string(cache.count) + " and a q of batch " +
         std::to_string(q.batch) + ": count must be 1 or more, the batch 1");
  }
  if (cache.cu_seqlens_q == nullptr && cache.cu_seqlens_k_new != nullptr) {
    fail("cu_seqlens_k_new without cu_seqlens_q: lengths of both sides, or of neither");
  }
  flash::check_rotary(kFunction, cache.rotary, q.dim);
}

void check_new_rows(const char* name, const View& rows, const View& cache, int64_t batch) {
  if (rows.batch != batch || rows.heads != cache.heads || rows.dim != cache.dim) {
    fail(std::string("the new ") + name + " has the shape " + flash::shape_text(rows) +
         ": must have batch " + std::to_string(batch) + " and the heads and size of its cache, " +
         flash::shape_text(cache));
  }
  if (rows.dtype != cache.dtype) {
    fail(std::string("the new ") + name + " has another dtype than its cache: must be equal");
  }
}

std::vector<CachedSequence> sequences_of(const View& q, const KvCacheArguments& cache,
                                         int64_t capacity) {
  const bool is_packed = cache.cu_seqlens_q != nullptr;
  const int64_t count = is_packed ? cache.count : q.batch;
  if (is_packed) {
    flash::check_cu_seqlens(kFunction, "cu_seqlens_q", cache.cu_seqlens_q, cache.count, q.seq);
    if (appends(cache)) {
      flash::check_cu_seqlens(kFunction, "cu_seqlens_k_new", cache.cu_seqlens_k_new, cache.count,
                              cache.k.seq);
    }
  }
  std::vector<CachedSequence> sequences;
  for (int64_t i = 0; i < count; ++i) {
    CachedSequence sequence{i, 0, q.seq, i, 0, appends(cache) ? cache.k.seq : 0, capacity};
    if (is_packed) {
      sequence.q_batch = sequence.new_batch = 0;
      sequence.q_begin = cache.cu_seqlens_q[i];
      sequence.q_len = cache.cu_seqlens_q[i + 1] - sequence.q_begin;
      if (appends(cache)) {
        sequence.new_begin = cache.cu_seqlens_k_new[i];
        sequence.new_len = cache.cu_seqlens_k_new[i + 1] - sequence.new_begin;
      }
    }
    if (cache.cache_seqlens != nullptr) {
      sequence.old_len = cache.cache_seqlens[i];
    }
    if (sequence.old_len < 0 || sequence.old_len + sequence.new_len > capacity) {
      fail(at("cache_seqlens", i) + " is " + std::to_string(sequence.old_len) + " with " +
           std::to_string(sequence.new_len) + " new tokens: the cache holds " +
           std::to_string(capacity) + " of a sequence");
    }
    sequences.push_back(sequence);
  }
  return sequences;
}

// Pages of the cache, lengths and starts of the sequences once the new tokens are in.
void lower_pages(const KvCacheArguments& cache, const std::vector<CachedSequence>& sequences,
                 flash::LoweredCall& call) {
  for (size_t i = 0; i < sequences.size(); ++i) {
    const int64_t end = sequences[i].old_len + sequences[i].new_len;
    const int64_t start = cache.cache_leftpad != nullptr ? cache.cache_leftpad[i] : 0;
    if (start < 0 || start > end) {
      fail(at("cache_leftpad", static_cast<int64_t>(i)) + " is " + std::to_string(start) +
           ": must be from 0 to the " + std::to_string(end) + " tokens of the sequence");
    }
    call.k_lengths.push_back(static_cast<int32_t>(end - start));
    if (cache.block_table == nullptr) {
      call.table.push_back(cache.cache_batch_idx != nullptr ? cache.cache_batch_idx[i]
                                                            : static_cast<int32_t>(i));
    }
  }
  const bool has_table = cache.block_table != nullptr;
  call.problem.pages = {.table = has_table ? cache.block_table : call.table.data(),
                        .stride = has_table ? cache.block_table_stride : 1,
                        .lengths = call.k_lengths.data(),
                        .starts = cache.cache_leftpad};
}

// Two sequences that append to one row of the cache would write over each other.
void check_distinct_rows(const KvCacheArguments& cache, const flash::LoweredCall& call) {
  if (!appends(cache) || cache.cache_batch_idx == nullptr) {
    return;
  }
  std::vector<int32_t> rows = call.table;
  std::sort(rows.begin(), rows.end());
  const auto twice = std::adjacent_find(rows.begin(), rows.end());
  if (twice != rows.end()) {
    fail("cache_batch_idx names row " + std::to_string(*twice) +
         " twice while new k and v are appended: rows must be distinct");
  }
}

int64_t first_position(const KvCacheArguments& cache, const CachedSequence& sequence, size_t i) {
  return cache.rotary.offsets != nullptr ? cache.rotary.offsets[i] : sequence.old_len;
}

// Queries have positions of their own only where the mask tells them apart.
bool has_query_positions(const FlashOptions& options) {
  return options.is_causal || options.window.left >= 0 || options.window.right >= 0 ||
         options.attention_chunk > 0;
}

void check_positions(const KvCacheArguments& cache, const std::vector<CachedSequence>& sequences,
                     const FlashOptions& options) {
  for (size_t i = 0; cache.rotary.cos != nullptr && i < sequences.size(); ++i) {
    const int64_t queries = has_query_positions(options) ? sequences[i].q_len : 1;
    const int64_t first = first_position(cache, sequences[i], i);
    const int64_t end = first + std::max(sequences[i].new_len, queries);
    if (first < 0 || end > cache.rotary.positions) {
      fail("sequence " + std::to_string(i) + " has positions " + std::to_string(first) + " to " +
           std::to_string(end) + ": the rotary table holds " +
           std::to_string(cache.rotary.positions));
    }
  }
}

void append(const KvCacheArguments& cache, const std::vector<CachedSequence>& sequences,
            const Problem& problem) {
  // Without padding: rows of the table, not keys.
  Problem rows = problem;
  rows.pages.starts = nullptr;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const CachedSequence& sequence = sequences[i];
    const core::Sequence engine_sequence{.index = static_cast<int64_t>(i)};
    for (int64_t t = 0; t < sequence.new_len; ++t) {
      const core::KeyPlace place = core::key_place(rows, engine_sequence, sequence.old_len + t);
      const int64_t position = first_position(cache, sequence, i) + t;
      for (int64_t head = 0; head < cache.k.heads; ++head) {
        const flash::RowIndex from{sequence.new_batch, sequence.new_begin + t, head};
        const flash::RowIndex to{place.batch, place.seq, head};
        flash::rotate_row(cache.rotary, position, cache.k, from, cache.k_cache, to);
        flash::copy_row(cache.v, from, cache.v_cache, to, 0);
      }
    }
  }
}

void rotate_queries(const KvCacheArguments& cache, const std::vector<CachedSequence>& sequences,
                    const FlashOptions& options, flash::LoweredCall& call) {
  if (cache.rotary.cos == nullptr) {
    return;
  }
  const View q = call.problem.q;
  const View rotated =
      flash::contiguous_view(q.dtype, q.batch, q.seq, q.heads, q.dim, call.rotated_q);
  for (size_t i = 0; i < sequences.size(); ++i) {
    const CachedSequence& sequence = sequences[i];
    for (int64_t t = 0; t < sequence.q_len; ++t) {
      const int64_t position =
          first_position(cache, sequence, i) + (has_query_positions(options) ? t : 0);
      for (int64_t head = 0; head < q.heads; ++head) {
        const flash::RowIndex row{sequence.q_batch, sequence.q_begin + t, head};
        flash::rotate_row(cache.rotary, position, q, row, rotated, row);
      }
    }
  }
  call.problem.q = rotated;
}

void check_output(const View& q, const View& v_cache, const View& o) {
  View wanted = q;
  wanted.dim = v_cache.dim;
  if (o.data == nullptr || flash::shape_text(o) != flash::shape_text(wanted)) {
    fail("o has the shape " + flash::shape_text(o) + (o.data == nullptr ? " and no memory" : "") +
         ": must be that of q with the head size of v, " + flash::shape_text(wanted));
  }
}

}  // namespace

void flash_attn_with_kvcache(const View& q, const KvCacheArguments& cache,
                             const FlashOptions& options, const ForwardOutputs& outputs) {
  checks::require_host_memory(kFunction, q.data,
                              "call attention_forward with Problem.pages, its tables pinned");
  check_arguments(q, cache);
  const int64_t capacity = cache.block_table != nullptr
                               ? cache.block_table_stride * cache.k_cache.seq
                               : cache.k_cache.seq;
  const std::vector<CachedSequence> sequences = sequences_of(q, cache, capacity);
  flash::LoweredCall call;
  flash::lower_options(kFunction, q, cache.k_cache, cache.v_cache, options, call);
  lower_pages(cache, sequences, call);
  if (cache.cu_seqlens_q != nullptr) {
    call.problem.documents.q_offsets = cache.cu_seqlens_q;
    call.problem.documents.count = cache.count;
  }
  flash::validate(call.problem);
  check_distinct_rows(cache, call);
  check_positions(cache, sequences, options);
  check_output(q, cache.v_cache, outputs.o);
  if (appends(cache)) {
    const int64_t batch = cache.cu_seqlens_q != nullptr ? 1 : q.batch;
    check_new_rows("k", cache.k, cache.k_cache, batch);
    check_new_rows("v", cache.v, cache.v_cache, batch);
    if (cache.k.seq != cache.v.seq) {
      fail("the new k has " + std::to_string(cache.k.seq) + " tokens and the new v " +
           std::to_string(cache.v.seq) + ": must be equal");
    }
    append(cache, sequences, call.problem);
  }
  rotate_queries(cache, sequences, options, call);
  flash::join_qv(kFunction, options, call);
  flash::run_forward(call, outputs);
}

}  // namespace regard
