// Block-diagonal masks: their lowering to documents, and who makes which.
#include "regard/xformers_block_diagonal.h"

#include <limits>
#include <string>
#include <utility>

#include "modules/xformers_blocks.h"
#include "modules/xformers_checks.h"

namespace regard::xformers {
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

std::vector<View> BlockDiagonal::split(const View& packed_tensor) const {
  if (!blocks_.k_lengths.empty() || blocks_.q_offsets != blocks_.k_starts) {
    refuse("split of a mask whose queries and keys are cut differently: use split_queries");
  }
  return split_queries(packed_tensor);
}

std::vector<View> BlockDiagonal::split_queries(const View& packed_tensor) const {
  return split_at(blocks_.q_offsets, blocks_.batch_sizes, packed_tensor);
}

std::vector<View> BlockDiagonal::split_kv(const View& packed_tensor) const {
  if (!blocks_.k_lengths.empty()) {
    refuse("split_kv of a mask with padded or gappy keys: their blocks are no parts of one row");
  }
  return split_at(blocks_.k_starts, blocks_.batch_sizes, packed_tensor);
}

BlockDiagonalMask BlockDiagonalMask::from_tensor_list(std::span<const View> tensors) {
  return from_tensor_lists_qkv(tensors, tensors);
}

BlockDiagonalMask BlockDiagonalMask::from_tensor_lists_qkv(std::span<const View> tensors_q,
                                                           std::span<const View> tensors_k,
                                                           std::span<const View> tensors_v) {
  check_same("tensors of q", static_cast<int64_t>(tensors_q.size()), "of k",
             static_cast<int64_t>(tensors_k.size()));
  if (!tensors_v.empty()) {
    check_same("tensors of k", static_cast<int64_t>(tensors_k.size()), "of v",
               static_cast<int64_t>(tensors_v.size()));
  }
  std::vector<int64_t> batch_sizes;
  std::vector<int32_t> q_lengths, k_lengths;
  for (size_t i = 0; i < tensors_q.size(); ++i) {
    const View &q = tensors_q[i], &k = tensors_k[i];
    const std::string of = "[" + std::to_string(i) + "].";
    check_same("tensors_q" + of + "batch", q.batch, "tensors_k" + of + "batch", k.batch);
    if (!tensors_v.empty()) {
      check_same("tensors_k" + of + "batch", k.batch, "tensors_v" + of + "batch",
                 tensors_v[i].batch);
      check_same("tensors_k" + of + "seq", k.seq, "tensors_v" + of + "seq", tensors_v[i].seq);
    }
    check_at_least("tensors_q" + of + "batch", q.batch, 0);
    batch_sizes.push_back(q.batch);
    const auto blocks = static_cast<size_t>(q.batch);
    q_lengths.insert(q_lengths.end(), blocks, static_cast<int32_t>(q.seq));
    k_lengths.insert(k_lengths.end(), blocks, static_cast<int32_t>(k.seq));
  }
  Blocks blocks = packed(q_lengths, k_lengths);
  blocks.batch_sizes = std::move(batch_sizes);
  return BlockDiagonalMask(std::move(blocks));
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

BlockDiagonalLocalAttentionPaddedKeysMask BlockDiagonalPaddedKeysMask::make_local_attention(
    int64_t window_left, int64_t window_right) const {
  return {blocks(), window_of(window_left, window_right)};
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
BlockDiagonalLocalAttentionFromBottomRightGappyKeysMask::from_seqlens_local_gappy(
    Lengths q_seqlen, Lengths kv_seqstarts, Lengths kv_seqlen, int64_t window_left,
    int64_t window_right) {
  return {gappy(q_seqlen, kv_seqstarts, kv_seqlen), window_of(window_left, window_right)};
}

}  // namespace regard::xformers
