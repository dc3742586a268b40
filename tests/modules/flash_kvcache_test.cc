// flash_attn_with_kvcache: append, rotary positions, pages, left padding, and a decoded sequence
// against a whole one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>
#include <string>

#include "core/dtype.h"
#include "tests/modules/flash_fixture.h"

namespace regard::testing {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kHeads = 4, kKvHeads = 2, kDim = 16, kRotaryDim = 8;

// cos and sin of position * 10000^(-2i / dim), as rotary models have them.
struct Rotary {
  explicit Rotary(int64_t positions) {
    for (int64_t p = 0; p < positions; ++p) {
      for (int64_t i = 0; i < kRotaryDim / 2; ++i) {
        const double angle = static_cast<double>(p) * std::pow(10000.0, -2.0 * double(i) / 8.0);
        cos.push_back(static_cast<float>(std::cos(angle)));
        sin.push_back(static_cast<float>(std::sin(angle)));
      }
    }
    table = {.cos = cos.data(),
             .sin = sin.data(),
             .dtype = DType::f32,
             .positions = positions,
             .dim = kRotaryDim};
  }
  std::vector<float> cos, sin;
  RotaryTable table;
};

// The plain formula: x becomes the complex product of its pairs with (cos, sin) of its position,
// rounded to the dtype of the operands.
GuardedTensor rotated(const GuardedTensor& from, const std::vector<int64_t>& positions,
                      bool is_interleaved, DType dtype = DType::f32) {
  std::vector<float> values = from.dense();
  const View& view = from.view();
  for (int64_t s = 0; s < view.seq; ++s) {
    for (int64_t h = 0; h < view.heads; ++h) {
      float* row = values.data() + (s * view.heads + h) * view.dim;
      for (int64_t i = 0; i < kRotaryDim / 2; ++i) {
        float& x = row[is_interleaved ? 2 * i : i];
        float& y = row[is_interleaved ? 2 * i + 1 : i + kRotaryDim / 2];
        const double angle = static_cast<double>(positions[static_cast<size_t>(s)]) *
                             std::pow(10000.0, -2.0 * static_cast<double>(i) / 8.0);
        const double old_x = x, old_y = y;
        x = static_cast<float>(old_x * std::cos(angle) - old_y * std::sin(angle));
        y = static_cast<float>(old_x * std::sin(angle) + old_y * std::cos(angle));
      }
    }
  }
  GuardedTensor result(dtype, shape_of(view), Layout::bshd);
  result.fill(values);
  return result;
}

std::vector<int64_t> positions_from(int64_t first, int64_t count, int64_t step = 1) {
  std::vector<int64_t> positions;
  for (int64_t i = 0; i < count; ++i) {
    positions.push_back(first + i * step);
  }
  return positions;
}

struct CacheCase {
  std::string name;
  FlashOptions options = {.is_causal = true};
  int64_t page_size = 0;  // 0 = not paged
  int64_t num_queries = 1, num_new = 1;
  bool has_leftpad = false, has_batch_idx = false, has_rotary = false, is_interleaved = true;
  DType dtype = DType::f32;
};

void PrintTo(const CacheCase& config, std::ostream* out) { *out << config.name; }

std::vector<CacheCase> cache_cases() {
  FlashOptions window{.is_causal = true}, chunk{.is_causal = true}, full;
  window.window.left = 20;
  chunk.attention_chunk = 16;
  std::vector<CacheCase> cases{
      {.name = "one_token"},
      {.name = "no_append", .num_new = 0},
      {.name = "more_queries_than_new", .num_queries = 5, .num_new = 3},
      {.name = "batch_idx", .num_queries = 2, .num_new = 2, .has_batch_idx = true},
      {.name = "leftpad", .has_leftpad = true},
      {.name = "leftpad_chunk", .options = chunk, .num_queries = 3, .has_leftpad = true},
      {.name = "window", .options = window, .has_batch_idx = true},
      {.name = "softcap", .options = {.is_causal = true, .softcap = 2.0f}},
      {.name = "rotary", .num_queries = 3, .num_new = 3, .has_rotary = true},
      {.name = "rotary_half",
       .num_queries = 3,
       .num_new = 3,
       .has_leftpad = true,
       .has_rotary = true,
       .is_interleaved = false},
      {.name = "rotary_not_causal",
       .options = full,
       .num_queries = 3,
       .num_new = 2,
       .has_rotary = true},
      {.name = "many_rows", .num_queries = 60, .num_new = 10, .has_rotary = true},
      {.name = "f16", .num_queries = 2, .has_leftpad = true, .dtype = DType::f16},
      {.name = "bf16", .num_queries = 2, .has_batch_idx = true, .dtype = DType::bf16},
  };
  for (const int64_t page_size : {1, 16, 256}) {
    const std::string suffix = "_pages" + std::to_string(page_size);
    cases.push_back({.name = "plain" + suffix, .page_size = page_size});
    cases.push_back({.name = "leftpad" + suffix,
                     .page_size = page_size,
                     .num_queries = 4,
                     .num_new = 4,
                     .has_leftpad = true,
                     .has_rotary = true,
                     .dtype = page_size == 16 ? DType::f16 : DType::f32});
    cases.push_back(
        {.name = "many_rows" + suffix, .page_size = page_size, .num_queries = 70, .num_new = 20});
  }
  return cases;
}

class FlashKvCache : public ::testing::TestWithParam<CacheCase> {};

constexpr int64_t kBatch = 3, kCapacity = 300;
const int32_t kCacheLengths[kBatch] = {0, 37, 255};
const int32_t kLeftpad[kBatch] = {0, 12, 200};
const int32_t kBatchIdx[kBatch] = {4, 0, 3};

// A cache, a call and what every sequence should give.
class CacheRun {
 public:
  explicit CacheRun(const CacheCase& c)
      : case_(c),
        pages_each_(c.page_size == 0 ? 1 : (kCapacity - 1) / c.page_size + 1),
        rotary_(kCapacity + 100),
        q_(random_tensor(c.dtype, {kBatch, c.num_queries, kHeads, kDim}, Layout::sliced, 1)),
        k_(random_tensor(c.dtype, {kBatch, c.num_new, kKvHeads, kDim}, Layout::bshd, 2)),
        v_(random_tensor(c.dtype, {kBatch, c.num_new, kKvHeads, kDim}, Layout::bhsd, 3)),
        k_cache_(random_tensor(c.dtype, cache_shape(), Layout::bhsd, 4)),
        v_cache_(random_tensor(c.dtype, cache_shape(), Layout::sliced, 5)),
        o_(c.dtype, shape_of(q_.view()), Layout::bshd),
        lse_(kBatch, kHeads, c.num_queries) {
    for (int64_t i = kBatch * pages_each_; i > 0; --i) {
      table_.push_back(static_cast<int32_t>(i - 1));
    }
    arguments_.k_cache = k_cache_.view();
    arguments_.v_cache = v_cache_.view();
    arguments_.cache_seqlens = kCacheLengths;
    if (c.num_new > 0) {
      arguments_.k = k_.view();
      arguments_.v = v_.view();
    }
    arguments_.cache_batch_idx = c.has_batch_idx ? kBatchIdx : nullptr;
    arguments_.cache_leftpad = c.has_leftpad ? kLeftpad : nullptr;
    if (c.page_size > 0) {
      arguments_.block_table = table_.data();
      arguments_.block_table_stride = pages_each_;
    }
    if (c.has_rotary) {
      arguments_.rotary = rotary_.table;
      arguments_.rotary.is_interleaved = c.is_interleaved;
    }
  }

  void expect_every_sequence_right() {
    std::vector<GuardedTensor> old_k, old_v;
    for (int64_t i = 0; i < kBatch; ++i) {
      old_k.push_back(cache_rows(k_cache_.view(), i, 0, kCacheLengths[i]));
      old_v.push_back(cache_rows(v_cache_.view(), i, 0, kCacheLengths[i]));
    }
    flash_attn_with_kvcache(q_.view(), arguments_, case_.options, {o_.view(), lse_.view()});
    for (int64_t i = 0; i < kBatch; ++i) {
      SCOPED_TRACE("sequence " + std::to_string(i));
      expect_cache(i, old_k[static_cast<size_t>(i)], old_v[static_cast<size_t>(i)]);
      expect_attention(i);
    }
    EXPECT_TRUE(k_cache_.guards_intact() && v_cache_.guards_intact() && o_.guards_intact());
  }

 private:
  Shape cache_shape() const {
    return case_.page_size > 0 ? Shape{kBatch * pages_each_, case_.page_size, kKvHeads, kDim}
                               : Shape{5, kCapacity, kKvHeads, kDim};
  }
  GuardedTensor cache_rows(const View& cache, int64_t i, int64_t begin, int64_t length) const {
    if (case_.page_size > 0) {
      return paged_rows_of(cache, table_.data() + i * pages_each_, begin, length);
    }
    return rows_of(cache, case_.has_batch_idx ? kBatchIdx[i] : i, begin, length);
  }

  // Old rows are as before; new ones are k (rotated) and v.
  void expect_cache(int64_t i, const GuardedTensor& old_k, const GuardedTensor& old_v) const {
    const int64_t old_len = kCacheLengths[i], num_new = case_.num_new;
    EXPECT_EQ(cache_rows(k_cache_.view(), i, 0, old_len).dense(), old_k.dense());
    EXPECT_EQ(cache_rows(v_cache_.view(), i, 0, old_len).dense(), old_v.dense());
    GuardedTensor new_k = rows_of(k_.view(), i, 0, num_new);
    if (case_.has_rotary) {
      new_k = rotated(new_k, positions_from(old_len, num_new), case_.is_interleaved);
    }
    expect_close(cache_rows(k_cache_.view(), i, old_len, num_new).dense(), new_k.dense(),
                 case_.dtype, "new k");
    EXPECT_EQ(cache_rows(v_cache_.view(), i, old_len, num_new).dense(),
              rows_of(v_.view(), i, 0, num_new).dense());
  }

  // Attention over the cache as it is now.
  void expect_attention(int64_t i) {
    const int64_t start = case_.has_leftpad ? kLeftpad[i] : 0;
    const int64_t num_keys = kCacheLengths[i] + case_.num_new - start;
    GuardedTensor q = rows_of(q_.view(), i, 0, case_.num_queries);
    if (case_.has_rotary) {
      const int64_t step = case_.options.is_causal ? 1 : 0;
      q = rotated(q, positions_from(kCacheLengths[i], case_.num_queries, step),
                  case_.is_interleaved, case_.dtype);
    }
    const auto k = cache_rows(k_cache_.view(), i, start, num_keys);
    const auto v = cache_rows(v_cache_.view(), i, start, num_keys);
    expect_rows({o_.view(), lse_.view()}, i, 0,
                ExpectedForward(sequence_problem(q, k, v, case_.options)), "o");
  }

  CacheCase case_;
  int64_t pages_each_;
  Rotary rotary_;
  GuardedTensor q_, k_, v_, k_cache_, v_cache_, o_;
  GuardedLse lse_;
  std::vector<int32_t> table_;
  KvCacheArguments arguments_;
};

TEST_P(FlashKvCache, EverySequence_AttendsOverItsAppendedCache) {
  CacheRun(GetParam()).expect_every_sequence_right();
}

INSTANTIATE_TEST_SUITE_P(Caches, FlashKvCache, ::testing::ValuesIn(cache_cases()),
                         [](const auto& test_info) { return test_info.param.name; });

// A prompt, then token by token, against one causal call over all of it.
TEST(FlashDecode, AppendedTokens_GiveWhatAWholePrefillGives) {
  constexpr int64_t kPrompt = 33, kTotal = 60, kPage = 16;
  const Rotary rotary(kTotal);
  for (const bool is_paged : {false, true}) {
    const auto q = random_tensor(DType::f32, {1, kTotal, kHeads, kDim}, Layout::bshd, 1);
    const auto k = random_tensor(DType::f32, {1, kTotal, kKvHeads, kDim}, Layout::bshd, 2);
    const auto v = random_tensor(DType::f32, {1, kTotal, kKvHeads, kDim}, Layout::bshd, 3);
    const std::vector<int64_t> positions = positions_from(0, kTotal);
    const auto q_rotated = rotated(q, positions, true), k_rotated = rotated(k, positions, true);
    GuardedTensor whole(DType::f32, {1, kTotal, kHeads, kDim}, Layout::bshd);
    const FlashOptions options{.is_causal = true};
    flash_attn_func(q_rotated.view(), k_rotated.view(), v.view(), options, {whole.view(), {}});

    const Shape cache_shape =
        is_paged ? Shape{4, kPage, kKvHeads, kDim} : Shape{1, 64, kKvHeads, kDim};
    GuardedTensor k_cache(DType::f32, cache_shape, Layout::bshd),
        v_cache(DType::f32, cache_shape, Layout::bhsd);
    const int32_t table[] = {2, 0, 3, 1};
    int32_t length = 0;
    GuardedTensor decoded(DType::f32, {1, kTotal, kHeads, kDim}, Layout::bshd);
    while (length < kTotal) {
      const auto rows = [&](const GuardedTensor& tensor) {
        View view = tensor.view();
        view.data = static_cast<float*>(view.data) + length * view.stride_seq;
        view.seq = length == 0 ? kPrompt : 1;
        return view;
      };
      KvCacheArguments cache{.k_cache = k_cache.view(), .v_cache = v_cache.view()};
      cache.k = rows(k);
      cache.v = rows(v);
      cache.cache_seqlens = &length;
      cache.rotary = rotary.table;
      if (is_paged) {
        cache.block_table = table;
        cache.block_table_stride = 4;
      }
      const View o = rows(decoded);
      flash_attn_with_kvcache(rows(q), cache, options, {o, {}});
      length += static_cast<int32_t>(o.seq);
    }
    expect_close(decoded.dense(), whole.dense(), DType::f32, is_paged ? "paged" : "contiguous");
  }
}

// FlashAttention 3: queries and new keys of unequal lengths in one row.
TEST(FlashKvCacheVarlen, PackedQueriesAndNewKeys_GoToTheirSequences) {
  const std::vector<int32_t> cu_q = {0, 1, 1, 5}, cu_new = {0, 1, 3, 7};
  const auto q = random_tensor(DType::f32, {1, 5, kHeads, kDim}, Layout::bshd, 1);
  const auto k = random_tensor(DType::f32, {1, 7, kKvHeads, kDim}, Layout::sliced, 2);
  const auto v = random_tensor(DType::f32, {1, 7, kKvHeads, kDim}, Layout::bshd, 3);
  auto k_cache = random_tensor(DType::f32, {kBatch, kCapacity, kKvHeads, kDim}, Layout::bshd, 4);
  auto v_cache = random_tensor(DType::f32, {kBatch, kCapacity, kKvHeads, kDim}, Layout::bhsd, 5);
  KvCacheArguments cache{.k_cache = k_cache.view(), .v_cache = v_cache.view()};
  cache.k = k.view();
  cache.v = v.view();
  cache.cache_seqlens = kCacheLengths;
  cache.count = kBatch;
  cache.cu_seqlens_q = cu_q.data();
  cache.cu_seqlens_k_new = cu_new.data();
  GuardedTensor o(DType::f32, {1, 5, kHeads, kDim}, Layout::bshd);
  GuardedLse lse(1, kHeads, 5);
  std::vector<float> slopes;  // of each sequence
  for (int64_t i = 0; i < kBatch * kHeads; ++i) {
    slopes.push_back(0.05f * static_cast<float>(i));
  }
  FlashOptions options{.is_causal = true};
  options.alibi = {.slopes = slopes.data(), .stride_batch = kHeads};
  flash_attn_with_kvcache(q.view(), cache, options, {o.view(), lse.view()});
  for (size_t i = 0; i < kBatch; ++i) {
    const auto row = static_cast<int64_t>(i);
    const int64_t num_new = cu_new[i + 1] - cu_new[i], num_keys = kCacheLengths[i] + num_new;
    EXPECT_EQ(rows_of(k_cache.view(), row, kCacheLengths[i], num_new).dense(),
              rows_of(k.view(), 0, cu_new[i], num_new).dense());
    options.alibi = {.slopes = slopes.data() + row * kHeads};
    const auto own_q = rows_of(q.view(), 0, cu_q[i], cu_q[i + 1] - cu_q[i]);
    const auto own_k = rows_of(k_cache.view(), row, 0, num_keys);
    const auto own_v = rows_of(v_cache.view(), row, 0, num_keys);
    expect_rows({o.view(), lse.view()}, 0, cu_q[i],
                ExpectedForward(sequence_problem(own_q, own_k, own_v, options)), "o");
  }

  const std::vector<int32_t> decreasing = {0, 1, 0, 7}, too_long = {0, 1, 3, 8};
  const auto refusal = [&](const int32_t* cu_seqlens_k_new) {
    cache.cu_seqlens_k_new = cu_seqlens_k_new;
    return refusal_of([&] { flash_attn_with_kvcache(q.view(), cache, {}, {o.view(), {}}); });
  };
  EXPECT_THAT(refusal(nullptr), HasSubstr("cu_seqlens_k_new is null"));
  EXPECT_THAT(refusal(decreasing.data()), HasSubstr("cu_seqlens_k_new[2] is 0"));
  EXPECT_THAT(refusal(too_long.data()), HasSubstr("[3] is 8: the tensor has 7 rows"));
}

// qv over pages: the joined keys are gathered.
TEST(FlashKvCacheQv, PagedCache_IsJoined) {
  const auto q = random_tensor(DType::f32, {2, 1, kHeads, 8}, Layout::bshd, 1);
  const auto qv = random_tensor(DType::f32, {2, 1, kHeads, 24}, Layout::bshd, 2);
  const auto k = random_tensor(DType::f32, {6, 16, 1, 8}, Layout::bshd, 3);
  const auto v = random_tensor(DType::f32, {6, 16, 1, 24}, Layout::bshd, 4);
  const int32_t table[] = {5, 0, 1, 2, 4, 3}, lengths[] = {40, 17};
  KvCacheArguments cache{.k_cache = k.view(), .v_cache = v.view()};
  cache.cache_seqlens = lengths;
  cache.block_table = table;
  cache.block_table_stride = 3;
  FlashOptions options{.is_causal = true};
  options.qv = qv.view();
  GuardedTensor paged(DType::f32, {2, 1, kHeads, 24}, Layout::bshd),
      alone(DType::f32, {1, 1, kHeads, 24}, Layout::bshd);
  flash_attn_with_kvcache(q.view(), cache, options, {paged.view(), {}});
  for (int64_t i = 0; i < 2; ++i) {
    const auto own_q = rows_of(q.view(), i, 0, 1), own_qv = rows_of(qv.view(), i, 0, 1);
    const auto own_k = paged_rows_of(k.view(), table + 3 * i, 0, lengths[i]);
    const auto own_v = paged_rows_of(v.view(), table + 3 * i, 0, lengths[i]);
    FlashOptions own = options;
    own.qv = own_qv.view();
    flash_attn_func(own_q.view(), own_k.view(), own_v.view(), own, {alone.view(), {}});
    expect_close(rows_of(paged.view(), i, 0, 1).dense(), alone.dense(), DType::f32, "o");
  }
}

class FlashKvCacheErrors : public ::testing::Test {
 protected:
  FlashKvCacheErrors()
      : q_(random_tensor(DType::f32, {2, 1, 2, kDim}, Layout::bshd, 1)),
        k_(random_tensor(DType::f32, {2, 2, 2, kDim}, Layout::bshd, 2)),
        k_cache_(random_tensor(DType::f32, {3, 20, 2, kDim}, Layout::bshd, 3)),
        v_cache_(random_tensor(DType::f32, {3, 20, 2, kDim}, Layout::bshd, 4)),
        o_(DType::f32, {2, 1, 2, kDim}, Layout::bshd) {
    cache_.k_cache = k_cache_.view();
    cache_.v_cache = v_cache_.view();
    cache_.k = cache_.v = k_.view();
    cache_.cache_seqlens = lengths_;
  }

  // The message, and that the cache is as before.
  std::string refusal() {
    const std::vector<uint8_t> before = k_cache_.bytes();
    const std::string message = refusal_of([&] {
      flash_attn_with_kvcache(q_.view(), cache_, options_, {o_.view(), {}});
    });
    EXPECT_TRUE(message.empty() || k_cache_.bytes() == before) << "wrote before it checked";
    return message;
  }

  int32_t lengths_[2] = {3, 18};
  Rotary rotary_ = Rotary(30);
  GuardedTensor q_, k_, k_cache_, v_cache_, o_;
  KvCacheArguments cache_;
  FlashOptions options_{.is_causal = true};
};

TEST_F(FlashKvCacheErrors, GoodArguments_AreNotRefused) { EXPECT_EQ(refusal(), ""); }

TEST_F(FlashKvCacheErrors, FullCache_NamesItsCapacity) {
  lengths_[1] = 19;
  EXPECT_THAT(refusal(), HasSubstr("cache_seqlens[1] is 19 with 2 new tokens: the cache holds 20"));
}

TEST_F(FlashKvCacheErrors, MissingLengths_AreAskedFor) {
  cache_.cache_seqlens = nullptr;
  EXPECT_THAT(refusal(), HasSubstr("without cache_seqlens"));
  cache_.k = {};
  EXPECT_THAT(refusal(), HasSubstr("give both or neither"));
}

TEST_F(FlashKvCacheErrors, RowsOutsideTheCache_AreRefused) {
  const int32_t outside[] = {0, 3}, twice[] = {1, 1};
  cache_.cache_batch_idx = outside;
  EXPECT_THAT(refusal(), HasSubstr("is 3"));
  cache_.cache_batch_idx = twice;
  EXPECT_THAT(refusal(), HasSubstr("names row 1 twice"));
  const int32_t table[] = {0, 1};
  cache_.block_table = table;
  EXPECT_THAT(refusal(), HasSubstr("cache_batch_idx together with block_table"));
}

TEST_F(FlashKvCacheErrors, LeftpadBeyondTheTokens_IsRefused) {
  const int32_t leftpad[] = {6, 0};
  cache_.cache_leftpad = leftpad;
  EXPECT_THAT(refusal(), HasSubstr("cache_leftpad[0] is 6: must be from 0 to the 5 tokens"));
}

TEST_F(FlashKvCacheErrors, RotaryTables_MustFit) {
  cache_.rotary = rotary_.table;
  cache_.rotary.positions = 19;
  EXPECT_THAT(refusal(), HasSubstr("positions 18 to 20: the rotary table holds 19"));
  cache_.rotary.dim = 5;
  EXPECT_THAT(refusal(), HasSubstr("rotary.dim 5"));
  cache_.rotary = rotary_.table;
  cache_.rotary.sin = nullptr;
  EXPECT_THAT(refusal(), HasSubstr("set both or neither"));
  cache_.rotary = rotary_.table;
  cache_.k = cache_.v = {};
  EXPECT_THAT(refusal(), HasSubstr("without new k and v"));
}

TEST_F(FlashKvCacheErrors, NewRowsOfAnotherShape_AreRefused) {
  cache_.v.heads = 1;
  EXPECT_THAT(refusal(), HasSubstr("the new v has the shape [2, 2, 1, 16]"));
  cache_.v = cache_.k;
  cache_.v.seq = 1;
  EXPECT_THAT(refusal(), HasSubstr("2 tokens and the new v 1"));
  cache_.v = cache_.k;
  cache_.k.dtype = cache_.v.dtype = DType::bf16;
  EXPECT_THAT(refusal(), HasSubstr("another dtype"));
}

TEST_F(FlashKvCacheErrors, OutputOfAnotherShape_IsRefusedBeforeAnythingIsAppended) {
  const GuardedTensor wrong(DType::f32, {2, 2, 2, kDim}, Layout::bshd);
  const std::vector<uint8_t> before = k_cache_.bytes();
  EXPECT_THAT(refusal_of([&] {
                flash_attn_with_kvcache(q_.view(), cache_, options_, {wrong.view(), {}});
              }),
              HasSubstr("o has the shape [2, 2, 2, 16]"));
  EXPECT_EQ(k_cache_.bytes(), before);
}

}  // namespace
}  // namespace regard::testing
