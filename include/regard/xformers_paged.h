// Block-diagonal masks over a paged cache, forward only: k and v are [1, pages * page_size, H, K],
// and row r of block b lies in page block_tables[b * max_pages + r / page_size] at r % page_size.
#pragma once

#include <cstdint>
#include <vector>

#include "regard/xformers_block_diagonal.h"

namespace regard::xformers {

// [blocks, max_pages] page numbers, copied by the masks.
struct PageTable {
  Lengths block_tables;
  int64_t page_size = 0;
};

class REGARD_API PagedBlockDiagonal : public AttentionBias {
 public:
  // Also turns k and v into [pages, page_size, H, K] (no copies).
  void lower(Problem& problem) const override;
  // Keys count over the pool, as k does before it is lowered.
  float value(const Problem& shape, const ScorePlace& at) const override;

 protected:
  // `starts` is empty (keys begin with the first row of the first page) or one a block.
  PagedBlockDiagonal(Lengths q_seqlen, Lengths kv_seqlen, Lengths starts, const PageTable& pages,
                     Band band);

 private:
  int64_t num_blocks() const { return static_cast<int64_t>(lengths_.size()); }
  int64_t max_pages() const { return static_cast<int64_t>(table_.size()) / num_blocks(); }
  void check_pages(int64_t num_pages) const;

  std::vector<int32_t> q_offsets_{0}, lengths_, starts_, table_;
  int64_t page_size_;
  Band band_;
};

// Block b sees the kv_seqlen[b] keys of its pages.
class REGARD_API PagedBlockDiagonalPaddedKeysMask : public PagedBlockDiagonal {
 public:
  PagedBlockDiagonalPaddedKeysMask(Lengths q_seqlen, Lengths kv_seqlen, const PageTable& pages)
      : PagedBlockDiagonal(q_seqlen, kv_seqlen, {}, pages, {}) {}
};

// The same, and j <= i + Mk - Mq.
class REGARD_API PagedBlockDiagonalCausalWithOffsetPaddedKeysMask : public PagedBlockDiagonal {
 public:
  PagedBlockDiagonalCausalWithOffsetPaddedKeysMask(Lengths q_seqlen, Lengths kv_seqlen,
                                                   const PageTable& pages)
      : PagedBlockDiagonal(q_seqlen, kv_seqlen, {}, pages, {.causal = Causal::lower_right}) {}
};

// i + Mk - Mq - W < j <= i + Mk - Mq; W is 1 or more.
class REGARD_API PagedBlockDiagonalCausalLocalPaddedKeysMask : public PagedBlockDiagonal {
 public:
  PagedBlockDiagonalCausalLocalPaddedKeysMask(Lengths q_seqlen, Lengths kv_seqlen,
                                              const PageTable& pages, int64_t window_size);
};

// Block b sees the kv_seqlen[b] keys from row kv_seqstarts[b] of its pages (kv_seqstarts has one
// entry a block, counted from the block's first page).
class REGARD_API PagedBlockDiagonalGappyKeysMask : public PagedBlockDiagonal {
 public:
  PagedBlockDiagonalGappyKeysMask(Lengths q_seqlen, Lengths kv_seqstarts, Lengths kv_seqlen,
                                  const PageTable& pages);
};

// The same, and j <= i + Mk - Mq.
class REGARD_API PagedBlockDiagonalCausalWithOffsetGappyKeysMask : public PagedBlockDiagonal {
 public:
  PagedBlockDiagonalCausalWithOffsetGappyKeysMask(Lengths q_seqlen, Lengths kv_seqstarts,
                                                  Lengths kv_seqlen, const PageTable& pages);
};

}  // namespace regard::xformers
