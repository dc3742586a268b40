// Block-diagonal masks: packed rows, caches with padded keys, keys with gaps between them. All of
// them need B = 1; block b of the queries sees keys of block b only, in a band.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "regard/xformers_bias.h"

namespace regard::xformers {

using Lengths = std::span<const int32_t>;

// Where the blocks lie: block b owns queries q_offsets[b] .. q_offsets[b+1] and the k_lengths[b]
// keys from k_starts[b] (without k_lengths: up to k_starts[b+1]).
struct Blocks {
  std::vector<int32_t> q_offsets{0}, k_starts, k_lengths;
  int64_t num_keys = 0;                // that k and v must have
  std::vector<int64_t> batch_sizes{};  // of the tensors that blocks were made of; empty = all 1
  int32_t count() const { return static_cast<int32_t>(q_offsets.size()) - 1; }
  int64_t num_queries_of(int32_t block) const;
  int64_t num_keys_of(int32_t block) const;
};

class REGARD_API BlockDiagonal : public AttentionBias {
 public:
  void lower(Problem& problem) const override;
  float value(const Problem& shape, const ScorePlace& at) const override;
  const Blocks& blocks() const { return blocks_; }

  // The parts of a packed tensor [1, sum of queries (or keys), H, K]: views, no copies, of the
  // tensors that from_tensor_list was given, or one a block. `split` where both sides are cut
  // alike.
  std::vector<View> split(const View& packed) const;
  std::vector<View> split_queries(const View& packed) const;
  std::vector<View> split_kv(const View& packed) const;

 protected:
  BlockDiagonal(Blocks blocks, Band band);
  const Band& band() const { return band_; }

 private:
  Blocks blocks_;
  Band band_;
};

class BlockDiagonalCausalMask;
class BlockDiagonalCausalFromBottomRightMask;
class BlockDiagonalCausalLocalAttentionMask;
class BlockDiagonalCausalLocalAttentionFromBottomRightMask;

// Every query sees all keys of its block. Without `kv_seqlen` keys are cut as queries are.
class REGARD_API BlockDiagonalMask : public BlockDiagonal {
 public:
  static BlockDiagonalMask from_seqlens(Lengths q_seqlen, Lengths kv_seqlen = {});
  // Views [B_i, M_i, H, K] laid one behind another become B_i blocks of M_i each.
  static BlockDiagonalMask from_tensor_list(std::span<const View> tensors);
  static BlockDiagonalMask from_tensor_lists_qkv(std::span<const View> tensors_q,
                                                 std::span<const View> tensors_k,
                                                 std::span<const View> tensors_v = {});

  BlockDiagonalCausalMask make_causal() const;
  BlockDiagonalCausalFromBottomRightMask make_causal_from_bottomright() const;
  BlockDiagonalCausalLocalAttentionMask make_local_attention(int64_t window_size) const;
  BlockDiagonalCausalLocalAttentionFromBottomRightMask make_local_attention_from_bottomright(
      int64_t window_size) const;

 private:
  explicit BlockDiagonalMask(Blocks blocks) : BlockDiagonal(std::move(blocks), {}) {}
};

// j <= i in each block.
class REGARD_API BlockDiagonalCausalMask : public BlockDiagonal {
 public:
  static BlockDiagonalCausalMask from_seqlens(Lengths q_seqlen, Lengths kv_seqlen = {});
  explicit BlockDiagonalCausalMask(Blocks blocks);
};

// j <= i + Mk - Mq in each block; a block with fewer keys than queries is an error.
class REGARD_API BlockDiagonalCausalFromBottomRightMask : public BlockDiagonal {
 public:
  static BlockDiagonalCausalFromBottomRightMask from_seqlens(Lengths q_seqlen,
                                                             Lengths kv_seqlen = {});
  explicit BlockDiagonalCausalFromBottomRightMask(Blocks blocks);
};

// i - W < j <= i in each block; a block whose last query would see no key is an error.
class REGARD_API BlockDiagonalCausalLocalAttentionMask : public BlockDiagonal {
 public:
  static BlockDiagonalCausalLocalAttentionMask from_seqlens_local(Lengths q_seqlen,
                                                                  Lengths kv_seqlen,
                                                                  int64_t window_size);
  BlockDiagonalCausalLocalAttentionMask(Blocks blocks, int64_t window_size);
};

// i + Mk - Mq - W < j <= i + Mk - Mq in each block; fewer keys than queries are an error.
class REGARD_API BlockDiagonalCausalLocalAttentionFromBottomRightMask : public BlockDiagonal {
 public:
  static BlockDiagonalCausalLocalAttentionFromBottomRightMask from_seqlens_local(
      Lengths q_seqlen, Lengths kv_seqlen, int64_t window_size);
  BlockDiagonalCausalLocalAttentionFromBottomRightMask(Blocks blocks, int64_t window_size);
};

// What make_paged gives: regard/xformers_paged.h.
struct PageTable;
class PagedBlockDiagonalPaddedKeysMask;
class PagedBlockDiagonalCausalWithOffsetPaddedKeysMask;
class PagedBlockDiagonalCausalLocalPaddedKeysMask;
class PagedBlockDiagonalGappyKeysMask;
class PagedBlockDiagonalCausalWithOffsetGappyKeysMask;
class BlockDiagonalLocalAttentionPaddedKeysMask;

// A cache of `kv_padding` keys a block, of which block b uses the first kv_seqlen[b]; k and v are
// [1, blocks * kv_padding, H, K].
class REGARD_API BlockDiagonalPaddedKeysMask : public BlockDiagonal {
 public:
  static BlockDiagonalPaddedKeysMask from_seqlens(Lengths q_seqlen, int32_t kv_padding,
                                                  Lengths kv_seqlen);
  // The same lengths over pages, whose number takes the place of kv_padding.
  PagedBlockDiagonalPaddedKeysMask make_paged(const PageTable& pages) const;
  BlockDiagonalLocalAttentionPaddedKeysMask make_local_attention(int64_t window_left,
                                                                 int64_t window_right) const;

 private:
  explicit BlockDiagonalPaddedKeysMask(Blocks blocks) : BlockDiagonal(std::move(blocks), {}) {}
};

// The same, and j <= i + Mk - Mq: new queries are the last ones of their block.
class REGARD_API BlockDiagonalCausalWithOffsetPaddedKeysMask : public BlockDiagonal {
 public:
  static BlockDiagonalCausalWithOffsetPaddedKeysMask from_seqlens(Lengths q_seqlen,
                                                                  int32_t kv_padding,
                                                                  Lengths kv_seqlen);
  PagedBlockDiagonalCausalWithOffsetPaddedKeysMask make_paged(const PageTable& pages) const;

 private:
  explicit BlockDiagonalCausalWithOffsetPaddedKeysMask(Blocks blocks);
};

// Padded keys, and i - left <= j - (Mk - Mq) <= i + right.
class REGARD_API BlockDiagonalLocalAttentionPaddedKeysMask : public BlockDiagonal {
 public:
  static BlockDiagonalLocalAttentionPaddedKeysMask from_seqlens_local(Lengths q_seqlen,
                                                                      int32_t kv_padding,
                                                                      Lengths kv_seqlen,
                                                                      int64_t window_left,
                                                                      int64_t window_right);

 private:
  friend class BlockDiagonalPaddedKeysMask;
  BlockDiagonalLocalAttentionPaddedKeysMask(Blocks blocks, Window window);
};

// Padded keys, and i + Mk - Mq - W < j <= i + Mk - Mq.
class REGARD_API BlockDiagonalCausalLocalAttentionPaddedKeysMask : public BlockDiagonal {
 public:
  static BlockDiagonalCausalLocalAttentionPaddedKeysMask from_seqlens_local(Lengths q_seqlen,
                                                                            int32_t kv_padding,
                                                                            Lengths kv_seqlen,
                                                                            int64_t window_size);
  PagedBlockDiagonalCausalLocalPaddedKeysMask make_paged(const PageTable& pages) const;

 private:
  BlockDiagonalCausalLocalAttentionPaddedKeysMask(Blocks blocks, int64_t window_size);
};

// Block b uses the kv_seqlen[b] keys from kv_seqstarts[b]; kv_seqstarts has one entry more than
// there are blocks, the last one being the number of keys.
class REGARD_API BlockDiagonalGappyKeysMask : public BlockDiagonal {
 public:
  static BlockDiagonalGappyKeysMask from_seqlens(Lengths q_seqlen, Lengths kv_seqstarts,
                                                 Lengths kv_seqlen);
  // Keys that lie in separate blocks of `notional_padding`, a multiple of the page size, over
  // pages: block b, which starts at kv_seqstarts[b], does so at row kv_seqstarts[b] - b *
  // notional_padding of its pages.
  PagedBlockDiagonalGappyKeysMask make_paged(const PageTable& pages,
                                             int64_t notional_padding) const;

 private:
  explicit BlockDiagonalGappyKeysMask(Blocks blocks) : BlockDiagonal(std::move(blocks), {}) {}
};

// The same, and j <= i + Mk - Mq.
class REGARD_API BlockDiagonalCausalWithOffsetGappyKeysMask : public BlockDiagonal {
 public:
  static BlockDiagonalCausalWithOffsetGappyKeysMask from_seqlens(Lengths q_seqlen,
                                                                 Lengths kv_seqstarts,
                                                                 Lengths kv_seqlen);
  PagedBlockDiagonalCausalWithOffsetGappyKeysMask make_paged(const PageTable& pages,
                                                             int64_t notional_padding) const;

 private:
  explicit BlockDiagonalCausalWithOffsetGappyKeysMask(Blocks blocks);
};

// Gappy keys, and i - left <= j - (Mk - Mq) <= i + right.
class REGARD_API BlockDiagonalLocalAttentionFromBottomRightGappyKeysMask : public BlockDiagonal {
 public:
  static BlockDiagonalLocalAttentionFromBottomRightGappyKeysMask from_seqlens_local_gappy(
      Lengths q_seqlen, Lengths kv_seqstarts, Lengths kv_seqlen, int64_t window_left,
      int64_t window_right);

 private:
  BlockDiagonalLocalAttentionFromBottomRightGappyKeysMask(Blocks blocks, Window window);
};

}  // namespace regard::xformers
