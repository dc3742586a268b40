// Block-diagonal masks: where their blocks lie, and their lowering to documents.
#include "regard/xformers_block_diagonal.h"

#include <limits>
#include <string>
#include <utility>

#include "core/dtype.h"
#include "modules/xformers_checks.h"

namespace regard::xformers {
namespace {

std::string text(int64_t value) { return std::to_string(value); }

// 0, a, a + b, ...
std::vector<int32_t> offsets_of(const std::string& name, Lengths lengths) {
  std::vector<int32_t> offsets{0};
  int64_t end = 0;
  for (const int32_t length : lengths) {
    check_at_least(name, length, 0);
    end += length;
    if (end > std::numeric_limits<int32_t>::max()) {
      refuse(name + " adds up to " + text(end) + ": at most " +
             text(std::numeric_limits<int32_t>::max()));
    }
    offsets.push_back(static_cast<int32_t>(end));
  }
  return offsets;
}

Blocks packed(Lengths q_seqlen, Lengths kv_seqlen) {
  const Lengths keys = kv_seqlen.empty() ? q_seqlen : kv_seqlen;
  check_same("blocks of q_seqlen", static_cast<int64_t>(q_seqlen.size()), "of kv_seqlen",
             static_cast<int64_t>(keys.size()));
  Blocks blocks;
  blocks.q_offsets = offsets_of("q_seqlen", q_seqlen);
  blocks.k_starts = offsets_of("kv_seqlen", keys);
  blocks.num_keys = blocks.k_starts.back();
  return blocks;
}

Blocks padded(Lengths q_seqlen, int32_t kv_padding, Lengths kv_seqlen) {
  check_same("blocks of q_seqlen", static_cast<int64_t>(q_seqlen.size()), "of kv_seqlen",
             static_cast<int64_t>(kv_seqlen.size()));
  check_at_least("kv_padding", kv_padding, 0);
  Blocks blocks;
  blocks.q_offsets = offsets_of("q_seqlen", q_seqlen);
  const std::vector<int32_t> paddings(kv_seqlen.size(), kv_padding);
  blocks.k_starts = offsets_of("kv_padding", paddings);
  blocks.num_keys = blocks.k_starts.back();
  blocks.k_starts.pop_back();
  for (const int32_t length : kv_seqlen) {
    check_at_least("kv_seqlen", length, 0);
    if (length > kv_padding) {
      refuse("kv_seqlen " + text(length) + " is more than kv_padding " + text(kv_padding));
    }
    blocks.k_lengths.push_back(length);
  }
  return blocks;
}

Blocks gappy(Lengths q_seqlen, Lengths kv_seqstarts, Lengths kv_seqlen) {
  check_same("blocks of q_seqlen", static_cast<int64_t>(q_seqlen.size()), "of kv_seqlen",
             static_cast<int64_t>(kv_seqlen.size()));
  check_same("kv_seqstarts' entries", static_cast<int64_t>(kv_seqstarts.size()), "blocks + 1",
             static_cast<int64_t>(kv_seqlen.size()) + 1);
  Blocks blocks{.q_offsets = offsets_of("q_seqlen", q_seqlen),
                .k_starts = {kv_seqstarts.begin(), kv_seqstarts.end() - 1},
                .k_lengths = {kv_seqlen.begin(), kv_seqlen.end()},
                .num_keys = kv_seqstarts.back()};
  for (size_t i = 0; i < kv_seqlen.size(); ++i) {
    check_at_least("kv_seqstarts", kv_seqstarts[i], 0);
    check_at_least("kv_seqlen", kv_seqlen[i], 0);
    if (int64_t{kv_seqstarts[i]} + kv_seqlen[i] > blocks.num_keys) {
      refuse("block " + text(static_cast<int64_t>(i)) + " ends at key " +
             text(int64_t{kv_seqstarts[i]} + kv_seqlen[i]) + " of " + text(blocks.num_keys));
    }
  }
  return blocks;
}

// Bottom-right alignment of fewer keys than queries would leave rows without keys.
Blocks with_enough_keys(Blocks blocks) {
  for (int32_t i = 0; i < blocks.count(); ++i) {
    if (blocks.num_keys_of(i) < blocks.num_queries_of(i)) {
      refuse("block " + text(i) + " has " + text(blocks.num_keys_of(i)) + " keys and " +
             text(blocks.num_queries_of(i)) +
             " queries: from the bottom right it needs as many keys as queries or more");
    }
  }
  return blocks;
}

Blocks with_reachable_keys(Blocks blocks, int64_t window_size) {
  check_at_least("window_size", window_size, 1);
  for (int32_t i = 0; i < blocks.count(); ++i) {
    const int64_t num_queries = blocks.num_queries_of(i);
    if (num_queries > 0 && num_queries - window_size >= blocks.num_keys_of(i)) {
      refuse("block " + text(i) + " has " + text(blocks.num_keys_of(i)) + " keys and " +
             text(num_queries) + " queries: a window of " + text(window_size) +
             " leaves its last query without a key");
    }
  }
  return blocks;
}

}  // namespace

int64_t Blocks::num_queries_of(int32_t block) const {
  const auto i = static_cast<size_t>(block);
  return q_offsets[i + 1] - q_offsets[i];
}

int64_t Blocks::num_keys_of(int32_t block) const {
  const auto i = static_cast<size_t>(block);
  return k_lengths.empty() ? k_starts[i + 1] - k_starts[i] : k_lengths[i];
}

BlockDiagonal::BlockDiagonal(Blocks blocks, Band band) : blocks_(std::move(blocks)), band_(band) {}

void BlockDiagonal::lower(Problem& problem) const {
  check_same("the batch of q", problem.q.batch, "that of a block-diagonal mask", 1);
  check_same("the mask's queries", blocks_.q_offsets.back(), "q's", problem.q.seq);
  check_same("the mask's keys", blocks_.num_keys, "k's", problem.k.seq);
  problem.causal = band_.causal;
  problem.window = band_.window;
  problem.documents = {.q_offsets = blocks_.q_offsets.data(),
                       .k_offsets = blocks_.k_starts.data(),
                       .count = blocks_.count(),
                       .k_lengths = blocks_.k_lengths.empty() ? nullptr : blocks_.k_lengths.data()};
}

float BlockDiagonal::value(const Problem&, const ScorePlace& at) const {
  for (int32_t block = 0; block < blocks_.count(); ++block) {
    const auto i = static_cast<size_t>(block);
    const int64_t query = at.query - blocks_.q_offsets[i], key = at.key - blocks_.k_starts[i];
    const int64_t num_queries = blocks_.num_queries_of(block),
                  num_keys = blocks_.num_keys_of(block);
    if (query >= 0 && query < num_queries && key >= 0 && key < num_keys &&
        band_.sees(num_queries, num_keys, query, key)) {
      return 0.0f;
    }
  }
  return -std::numeric_limits<float>::infinity();
}

BlockDiagonalMask BlockDiagonalMask::from_seqlens(Lengths q_seqlen, Lengths kv_seqlen) {
  return BlockDiagonalMask(packed(q_seqlen, kv_seqlen));
}

BlockDiagonalMask BlockDiagonalMask::from_tensor_list(std::span<const View> tensors) {
  std::vector<int32_t> lengths;
  std::vector<int64_t> batch_sizes;
  for (const View& tensor : tensors) {
    batch_sizes.push_back(tensor.batch);
    lengths.insert(lengths.end(), static_cast<size_t>(tensor.batch),
                   static_cast<int32_t>(tensor.seq));
  }
  BlockDiagonalMask mask(packed(lengths, {}));
  mask.batch_sizes_ = std::move(batch_sizes);
  return mask;
}

std::vector<View> BlockDiagonalMask::split(const View& packed_tensor) const {
  check_same("the mask's queries", blocks().q_offsets.back(), "the tensor's", packed_tensor.seq);
  std::vector<int64_t> sizes = batch_sizes_;
  if (sizes.empty()) {
    sizes.assign(static_cast<size_t>(blocks().count()), 1);
  }
  std::vector<View> parts;
  int32_t block = 0;
  for (const int64_t size : sizes) {
    View part = packed_tensor;
    part.batch = size;
    part.seq = size > 0 ? blocks().num_queries_of(block) : 0;
    part.stride_batch = part.seq * part.stride_seq;
    part.data = static_cast<char*>(part.data) + blocks().q_offsets[static_cast<size_t>(block)] *
                                                    part.stride_seq * core::bytes_of(part.dtype);
    parts.push_back(part);
    block += static_cast<int32_t>(size);
  }
  return parts;
}

BlockDiagonalCausalMask BlockDiagonalMask::make_causal() const {
  return BlockDiagonalCausalMask(blocks());
}

BlockDiagonalCausalFromBottomRightMask BlockDiagonalMask::make_causal_from_bottomright() const {
  return BlockDiagonalCausalFromBottomRightMask(blocks());
}

BlockDiagonalCausalLocalAttentionMask BlockDiagonalMask::make_local_attention(
    int64_t window_size) const {
  return {blocks(), window_size};
}

BlockDiagonalCausalLocalAttentionFromBottomRightMask
BlockDiagonalMask::make_local_attention_from_bottomright(int64_t window_size) const {
  return {blocks(), window_size};
}

BlockDiagonalCausalMask::BlockDiagonalCausalMask(Blocks blocks)
    : BlockDiagonal(std::move(blocks), {.causal = Causal::upper_left}) {}

BlockDiagonalCausalMask BlockDiagonalCausalMask::from_seqlens(Lengths q_seqlen, Lengths kv_seqlen) {
  return BlockDiagonalCausalMask(packed(q_seqlen, kv_seqlen));
}

BlockDiagonalCausalFromBottomRightMask::BlockDiagonalCausalFromBottomRightMask(Blocks blocks)
    : BlockDiagonal(with_enough_keys(std::move(blocks)), {.causal = Causal::lower_right}) {}

BlockDiagonalCausalFromBottomRightMask BlockDiagonalCausalFromBottomRightMask::from_seqlens(
    Lengths q_seqlen, Lengths kv_seqlen) {
  return BlockDiagonalCausalFromBottomRightMask(packed(q_seqlen, kv_seqlen));
}

BlockDiagonalCausalLocalAttentionMask::BlockDiagonalCausalLocalAttentionMask(Blocks blocks,
                                                                             int64_t window_size)
    : BlockDiagonal(with_reachable_keys(std::move(blocks), window_size),
                    local_band(Causal::upper_left, window_size)) {}

BlockDiagonalCausalLocalAttentionMask BlockDiagonalCausalLocalAttentionMask::from_seqlens_local(
    Lengths q_seqlen, Lengths kv_seqlen, int64_t window_size) {
  return {packed(q_seqlen, kv_seqlen), window_size};
}

BlockDiagonalCausalLocalAttentionFromBottomRightMask::
    BlockDiagonalCausalLocalAttentionFromBottomRightMask(Blocks blocks, int64_t window_size)
    : BlockDiagonal(with_enough_keys(std::move(blocks)),
                    local_band(Causal::lower_right, window_size)) {}

BlockDiagonalCausalLocalAttentionFromBottomRightMask
BlockDiagonalCausalLocalAttentionFromBottomRightMask::from_seqlens_local(Lengths q_seqlen,
                                                                         Lengths kv_seqlen,
                                                                         int64_t window_size) {
  return {packed(q_seqlen, kv_seqlen), window_size};
}

BlockDiagonalPaddedKeysMask BlockDiagonalPaddedKeysMask::from_seqlens(Lengths q_seqlen,
                                                                      int32_t kv_padding,
                                                                      Lengths kv_seqlen) {
  return BlockDiagonalPaddedKeysMask(padded(q_seqlen, kv_padding, kv_seqlen));
}

BlockDiagonalCausalWithOffsetPaddedKeysMask::BlockDiagonalCausalWithOffsetPaddedKeysMask(
    Blocks blocks)
    : BlockDiagonal(std::move(blocks), {.causal = Causal::lower_right}) {}

BlockDiagonalCausalWithOffsetPaddedKeysMask
BlockDiagonalCausalWithOffsetPaddedKeysMask::from_seqlens(Lengths q_seqlen, int32_t kv_padding,
                                                          Lengths kv_seqlen) {
  return BlockDiagonalCausalWithOffsetPaddedKeysMask(padded(q_seqlen, kv_padding, kv_seqlen));
}

BlockDiagonalLocalAttentionPaddedKeysMask::BlockDiagonalLocalAttentionPaddedKeysMask(Blocks blocks,
                                                                                     Window window)
    : BlockDiagonal(std::move(blocks), {.window = window}) {}

BlockDiagonalLocalAttentionPaddedKeysMask
BlockDiagonalLocalAttentionPaddedKeysMask::from_seqlens_local(Lengths q_seqlen, int32_t kv_padding,
                                                              Lengths kv_seqlen,
                                                              int64_t window_left,
                                                              int64_t window_right) {
  return {padded(q_seqlen, kv_padding, kv_seqlen), window_of(window_left, window_right)};
}

BlockDiagonalCausalLocalAttentionPaddedKeysMask::BlockDiagonalCausalLocalAttentionPaddedKeysMask(
    Blocks blocks, int64_t window_size)
    : BlockDiagonal(std::move(blocks), local_band(Causal::lower_right, window_size)) {}

BlockDiagonalCausalLocalAttentionPaddedKeysMask
BlockDiagonalCausalLocalAttentionPaddedKeysMask::from_seqlens_local(Lengths q_seqlen,
                                                                    int32_t kv_padding,
                                                                    Lengths kv_seqlen,
                                                                    int64_t window_size) {
  return {padded(q_seqlen, kv_padding, kv_seqlen), window_size};
}

BlockDiagonalGappyKeysMask BlockDiagonalGappyKeysMask::from_seqlens(Lengths q_seqlen,
                                                                    Lengths kv_seqstarts,
                                                                    Lengths kv_seqlen) {
  return BlockDiagonalGappyKeysMask(gappy(q_seqlen, kv_seqstarts, kv_seqlen));
}

BlockDiagonalCausalWithOffsetGappyKeysMask::BlockDiagonalCausalWithOffsetGappyKeysMask(
    Blocks blocks)
    : BlockDiagonal(std::move(blocks), {.causal = Causal::lower_right}) {}

BlockDiagonalCausalWithOffsetGappyKeysMask BlockDiagonalCausalWithOffsetGappyKeysMask::from_seqlens(
    Lengths q_seqlen, Lengths kv_seqstarts, Lengths kv_seqlen) {
  return BlockDiagonalCausalWithOffsetGappyKeysMask(gappy(q_seqlen, kv_seqstarts, kv_seqlen));
}

BlockDiagonalLocalAttentionFromBottomRightGappyKeysMask::
    BlockDiagonalLocalAttentionFromBottomRightGappyKeysMask(Blocks blocks, Window window)
    : BlockDiagonal(std::move(blocks), {.window = window}) {}

BlockDiagonalLocalAttentionFromBottomRightGappyKeysMask
BlockDiagonalLocalAttentionFromBottomRightGappyKeysMask::from_seqlens_local(Lengths q_seqlen,
                                                                            Lengths kv_seqstarts,
                                                                            Lengths kv_seqlen,
                                                                            int64_t window_left,
                                                                            int64_t window_right) {
  return {gappy(q_seqlen, kv_seqstarts, kv_seqlen), window_of(window_left, window_right)};
}

}  // namespace regard::xformers
