// Block-diagonal masks over a paged cache, lowered to Problem::pages.
#include "regard/xformers_paged.h"

#include <limits>
#include <string>

#include "modules/xformers_checks.h"

namespace regard::xformers {
namespace {

using checks::text;

View in_pages(const View& pool, int64_t page_size) {
  View pages = pool;
  pages.batch = pool.seq / page_size;
  pages.seq = page_size;
  pages.stride_batch = page_size * pool.stride_seq;
  return pages;
}

// One start a block: an empty list would mean "without starts".
Lengths checked_starts(Lengths starts, Lengths lengths) {
  check_same("kv_seqstarts' entries", static_cast<int64_t>(starts.size()), "blocks",
             static_cast<int64_t>(lengths.size()));
  return starts;
}

std::vector<int32_t> q_lengths_of(const Blocks& blocks) {
  std::vector<int32_t> lengths;
  lengths.reserve(static_cast<size_t>(blocks.count()));
  for (int32_t block = 0; block < blocks.count(); ++block) {
    lengths.push_back(static_cast<int32_t>(blocks.num_queries_of(block)));
  }
  return lengths;
}

// Rows counted from each block's first page.
std::vector<int32_t> starts_in_pages(const Blocks& blocks, const PageTable& pages,
                                     int64_t notional_padding) {
  check_at_least("page_size", pages.page_size, 1);
  check_at_least("notional_padding", notional_padding, 1);
  if (notional_padding % pages.page_size != 0) {
    refuse("notional_padding " + text(notional_padding) + ": must be a multiple of page_size " +
           text(pages.page_size));
  }
  std::vector<int32_t> starts;
  for (int32_t block = 0; block < blocks.count(); ++block) {
    const int32_t start = blocks.k_starts[static_cast<size_t>(block)];
    const int64_t begin = block * notional_padding;
    if (start < begin || start >= begin + notional_padding) {
      refuse("block " + text(block) + " starts at key " + text(start) + ": must lie in its " +
             text(notional_padding) + " from " + text(begin));
    }
    starts.push_back(static_cast<int32_t>(start - begin));
  }
  return starts;
}

}  // namespace

PagedBlockDiagonalPaddedKeysMask BlockDiagonalPaddedKeysMask::make_paged(
    const PageTable& pages) const {
  return {q_lengths_of(blocks()), blocks().k_lengths, pages};
}

PagedBlockDiagonalCausalWithOffsetPaddedKeysMask
BlockDiagonalCausalWithOffsetPaddedKeysMask::make_paged(const PageTable& pages) const {
  return {q_lengths_of(blocks()), blocks().k_lengths, pages};
}

PagedBlockDiagonalCausalLocalPaddedKeysMask
BlockDiagonalCausalLocalAttentionPaddedKeysMask::make_paged(const PageTable& pages) const {
  return {q_lengths_of(blocks()), blocks().k_lengths, pages, band().window.left + 1};
}

PagedBlockDiagonalGappyKeysMask BlockDiagonalGappyKeysMask::make_paged(
    const PageTable& pages, int64_t notional_padding) const {
  return {q_lengths_of(blocks()), starts_in_pages(blocks(), pages, notional_padding),
          blocks().k_lengths, pages};
}

PagedBlockDiagonalCausalWithOffsetGappyKeysMask
BlockDiagonalCausalWithOffsetGappyKeysMask::make_paged(const PageTable& pages,
                                                       int64_t notional_padding) const {
  return {q_lengths_of(blocks()), starts_in_pages(blocks(), pages, notional_padding),
          blocks().k_lengths, pages};
}

PagedBlockDiagonal::PagedBlockDiagonal(Lengths q_seqlen, Lengths kv_seqlen, Lengths starts,
                                       const PageTable& pages, Band band)
    : lengths_(kv_seqlen.begin(), kv_seqlen.end()),
      starts_(starts.begin(), starts.end()),
      table_(pages.block_tables.begin(), pages.block_tables.end()),
      page_size_(pages.page_size),
      band_(band) {
  check_same("blocks of q_seqlen", static_cast<int64_t>(q_seqlen.size()), "of kv_seqlen",
             num_blocks());
  check_at_least("blocks", num_blocks(), 1);
  check_at_least("page_size", page_size_, 1);
  if (table_.size() % lengths_.size() != 0) {
    refuse("block_tables has " + text(static_cast<int64_t>(table_.size())) + " entries for " +
           text(num_blocks()) + " blocks: must be blocks * max_pages");
  }
  for (const int32_t length : q_seqlen) {
    check_at_least("q_seqlen", length, 0);
    q_offsets_.push_back(q_offsets_.back() + length);
  }
  for (size_t i = 0; i < lengths_.size(); ++i) {
    const int64_t start = starts_.empty() ? 0 : starts_[i];
    check_at_least("kv_seqstarts", start, 0);
    check_at_least("kv_seqlen", lengths_[i], 0);
    if (start + lengths_[i] > max_pages() * page_size_) {
      refuse("block " + text(static_cast<int64_t>(i)) + " ends at row " +
             text(start + lengths_[i]) + " of " + text(max_pages() * page_size_) + " in its " +
             text(max_pages()) + " pages of " + text(page_size_));
    }
  }
}

// Only the pages that hold keys of a block: the rest of a table is often filled with -1.
void PagedBlockDiagonal::check_pages(int64_t num_pages) const {
  for (int64_t block = 0; block < num_blocks(); ++block) {
    const auto i = static_cast<size_t>(block);
    const int64_t start = starts_.empty() ? 0 : starts_[i];
    for (int64_t row = start; row < start + lengths_[i]; row += page_size_ - row % page_size_) {
      const int32_t page = table_[static_cast<size_t>(block * max_pages() + row / page_size_)];
      if (page < 0 || page >= num_pages) {
        refuse("block_tables[" + text(block) + ", " + text(row / page_size_) + "] is page " +
               text(page) + " of " + text(num_pages));
      }
    }
  }
}

void PagedBlockDiagonal::lower(Problem& problem) const {
  check_same("the batch of q", problem.q.batch, "that of a block-diagonal mask", 1);
  check_same("the batch of k", problem.k.batch, "that of a block-diagonal mask", 1);
  check_same("the mask's queries", q_offsets_.back(), "q's", problem.q.seq);
  if (problem.k.seq % page_size_ != 0) {
    refuse("k.seq " + text(problem.k.seq) + ": must be a multiple of page_size " +
           text(page_size_));
  }
  check_pages(problem.k.seq / page_size_);
  problem.k = in_pages(problem.k, page_size_);
  problem.v = in_pages(problem.v, page_size_);
  problem.causal = band_.causal;
  problem.window = band_.window;
  problem.documents = {.q_offsets = q_offsets_.data(), .count = static_cast<int32_t>(num_blocks())};
  problem.pages = {.table = table_.data(),
                   .stride = max_pages(),
                   .lengths = lengths_.data(),
                   .starts = starts_.empty() ? nullptr : starts_.data()};
}

float PagedBlockDiagonal::value(const Problem&, const ScorePlace& at) const {
  size_t block = 0;
  while (block + 1 < lengths_.size() && at.query >= q_offsets_[block + 1]) {
    ++block;
  }
  const int64_t query = at.query - q_offsets_[block];
  const int64_t num_queries = q_offsets_[block + 1] - q_offsets_[block];
  const int64_t start = starts_.empty() ? 0 : starts_[block];
  for (int64_t key = 0; key < lengths_[block]; ++key) {
    const int64_t row = start + key;
    const int64_t page =
        table_[block * static_cast<size_t>(max_pages()) + static_cast<size_t>(row / page_size_)];
    if (page * page_size_ + row % page_size_ == at.key &&
        band_.sees(num_queries, lengths_[block], query, key)) {
      return 0.0f;
    }
  }
  return -std::numeric_limits<float>::infinity();
}

PagedBlockDiagonalCausalLocalPaddedKeysMask::PagedBlockDiagonalCausalLocalPaddedKeysMask(
    Lengths q_seqlen, Lengths kv_seqlen, const PageTable& pages, int64_t window_size)
    : PagedBlockDiagonal(q_seqlen, kv_seqlen, {}, pages,
                         local_band(Causal::lower_right, window_size)) {}

PagedBlockDiagonalGappyKeysMask::PagedBlockDiagonalGappyKeysMask(Lengths q_seqlen,
                                                                 Lengths kv_seqstarts,
                                                                 Lengths kv_seqlen,
                                                                 const PageTable& pages)
    : PagedBlockDiagonal(q_seqlen, kv_seqlen, checked_starts(kv_seqstarts, kv_seqlen), pages, {}) {}

PagedBlockDiagonalCausalWithOffsetGappyKeysMask::PagedBlockDiagonalCausalWithOffsetGappyKeysMask(
    Lengths q_seqlen, Lengths kv_seqstarts, Lengths kv_seqlen, const PageTable& pages)
    : PagedBlockDiagonal(q_seqlen, kv_seqlen, checked_starts(kv_seqstarts, kv_seqlen), pages,
                         {.causal = Causal::lower_right}) {}

}  // namespace regard::xformers
