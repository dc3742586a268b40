// What a block mask (BlockMaskView, regard/problem.h) says of pairs, of tiles of pairs, and which
// tiles are worth visiting. Blocks count over the whole row; queries and keys here count from the
// sequence's first ones, and tiles need not lie along the blocks.
#pragma once

#include "attn_config.h"
#include "attn_params.h"
#include "pair/limits.cuh"
#include "platform.cuh"

namespace regard::gpu {

// Of a pair, or of all pairs of a tile. mixed: ask pair by pair. full: listed, and the mask program
// need not be asked.
enum class Listing : int { hidden, mixed, listed, full };

// Listed key blocks of one block row, ascending: columns[begin .. end).
struct BlockRow {
  int begin, end;
};

REGARD_DEVICE BlockRow block_row(const ProblemParams& p, const Head& head, int query) {
  const long long mask =
      head.sequence.batch * p.block_mask_stride_batch + head.index * p.block_mask_stride_head;
  const int* offsets = p.block_row_offsets + mask * p.block_mask_rows +
                       (head.sequence.q_begin + query) / p.block_mask_q;
  return {load_global(offsets), load_global(offsets + 1)};
}

REGARD_DEVICE int block_column(const ProblemParams& p, const Head& head, int key) {
  return (head.sequence.k_begin + key) / p.block_mask_k;
}

// Index of the first listed block at or after `column`; row.end where there is none. Neighbouring
// columns, as most masks list them, are found without a search.
REGARD_DEVICE int lower_bound(const ProblemParams& p, const BlockRow& row, int column) {
  if (row.begin == row.end) {
    return row.end;
  }
  int lo = row.begin, hi = row.end;
  const int ahead = column - load_global(p.block_columns + lo);
  if (ahead <= 0) {
    return lo;
  }
  hi = ahead < hi - lo ? lo + ahead : hi;  // columns ascend: it stands here or before
  if (load_global(p.block_columns + hi - 1) < column) {
    return hi;
  }
  while (lo < hi) {
    const int middle = lo + (hi - lo) / 2;
    if (load_global(p.block_columns + middle) < column) {
      lo = middle + 1;
    } else {
      hi = middle;
    }
  }
  return lo;
}

REGARD_DEVICE Listing listing_at(const ProblemParams& p, const BlockRow& row, int column) {
  const int at = lower_bound(p, row, column);
  if (at == row.end || load_global(p.block_columns + at) != column) {
    return Listing::hidden;
  }
  const bool is_full = p.block_is_full != nullptr && load_global(p.block_is_full + at) != 0;
  return is_full ? Listing::full : Listing::listed;
}

// Of the pair; never mixed.
REGARD_DEVICE Listing listing_of_pair(const ProblemParams& p, const Head& head, int query,
                                      int key) {
  return listing_at(p, block_row(p, head, query), block_column(p, head, key));
}

// Queries and keys [begin, end) of a sequence, all of which exist and none of which is empty.
struct PairTile {
  int q_begin, q_end, k_begin, k_end;
};

// Of all pairs of the tile.
REGARD_DEVICE Listing listing_of_tile(const ProblemParams& p, const Head& head,
                                      const PairTile& tile) {
  const int first_column = block_column(p, head, tile.k_begin);
  const int last_column = block_column(p, head, tile.k_end - 1);
  bool sees_none = true, sees_all = true, is_full = true;
  for (int query = tile.q_begin; query < tile.q_end;) {
    const BlockRow row = block_row(p, head, query);
    int at = lower_bound(p, row, first_column), num_listed = 0;
    for (; at < row.end && load_global(p.block_columns + at) <= last_column; ++at) {
      ++num_listed;
      is_full = is_full && p.block_is_full != nullptr && load_global(p.block_is_full + at) != 0;
    }
    sees_none = sees_none && num_listed == 0;
    sees_all = sees_all && num_listed == last_column - first_column + 1;
    const int row_query = head.sequence.q_begin + query;
    query += p.block_mask_q - row_query % p.block_mask_q;  // to the next block row
  }
  return sees_none   ? Listing::hidden
         : !sees_all ? Listing::mixed
         : is_full   ? Listing::full
                     : Listing::listed;
}

// The first key at or after tile.k_begin, and before tile.k_end, that some query of the tile has
// listed; tile.k_end where there is none.
REGARD_DEVICE int first_listed_key(const ProblemParams& p, const Head& head, const PairTile& tile) {
  const int first_column = block_column(p, head, tile.k_begin);
  int first = tile.k_end;
  for (int query = tile.q_begin; query < tile.q_end;) {
    const BlockRow row = block_row(p, head, query);
    const int at = lower_bound(p, row, first_column);
    if (at < row.end) {
      const long long key =
          static_cast<long long>(load_global(p.block_columns + at)) * p.block_mask_k -
          head.sequence.k_begin;
      first = key < first ? static_cast<int>(key) : first;
    }
    const int row_query = head.sequence.q_begin + query;
    query += p.block_mask_q - row_query % p.block_mask_q;
  }
  return first > tile.k_begin ? first : tile.k_begin;
}

}  // namespace regard::gpu
