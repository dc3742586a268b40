#include <algorithm>
#include <string>
#include <vector>

#include "api/validate_parts.h"
#include "core/sequences.h"

namespace regard::api {
namespace {

// The fields of Documents that describe queries, or keys.
struct Side {
  std::string letter;  // "q" or "k"
  const int32_t* offsets;
  const int32_t* lengths;
  int32_t count;
  int64_t seq;
};

Side query_side(const Problem& problem) {
  const Documents& documents = problem.documents;
  return {"q", documents.q_offsets, documents.q_lengths, documents.count, problem.q.seq};
}
Side key_side(const Problem& problem) {
  const Documents& documents = problem.documents;
  return {"k", documents.k_offsets, documents.k_lengths, documents.count, problem.k.seq};
}

// Without lengths: offsets cut the whole row.
void check_cuts(const Side& side) {
  const std::string name = "documents." + side.letter + "_offsets";
  checks::check_cumulative(name, side.offsets, side.count);
  if (side.offsets[side.count] != side.seq) {
    fail(name + "[" + text(side.count) + "] is " + text(side.offsets[side.count]) +
         ": must be the sequence length " + text(side.seq));
  }
}

// With lengths: every document lies inside the row.
void check_pieces(const Side& side) {
  for (int32_t i = 0; i < side.count; ++i) {
    const int64_t begin = side.offsets[i], length = side.lengths[i];
    if (length < 0) {
      fail("documents." + side.letter + "_lengths[" + text(i) + "] is " + text(length) +
           ": must be 0 or more");
    }
    if (begin < 0 || begin + length > side.seq) {
      fail("document " + text(i) + " owns rows " + text(begin) + " to " + text(begin + length) +
           " of " + side.letter + ": must lie inside the sequence length " + text(side.seq));
    }
  }
}

void check_side(const Side& side) {
  const bool has_lengths = side.lengths != nullptr;
  if (side.offsets == nullptr) {
    fail("documents." + side.letter + "_offsets is null: " + text(side.count) + " documents need " +
         text(side.count + (has_lengths ? 0 : 1)) + (has_lengths ? " starts" : " offsets"));
  }
  has_lengths ? check_pieces(side) : check_cuts(side);
}

// With lengths: no row of q (or k) in two documents.
void check_disjoint(const Side& side, const std::string& remedy) {
  if (side.lengths == nullptr) {
    return;  // cuts cannot overlap
  }
  std::vector<int32_t> order;
  for (int32_t i = 0; i < side.count; ++i) {
    if (side.lengths[i] > 0) {
      order.push_back(i);
    }
  }
  std::sort(order.begin(), order.end(),
            [&](int32_t a, int32_t b) { return side.offsets[a] < side.offsets[b]; });
  for (size_t i = 1; i < order.size(); ++i) {
    const int32_t before = order[i - 1], after = order[i];
    if (int64_t{side.offsets[before]} + side.lengths[before] > side.offsets[after]) {
      fail("documents " + text(before) + " and " + text(after) + " both own row " +
           text(side.offsets[after]) + " of " + side.letter + ": " + remedy);
    }
  }
}

void check_page_row(const Problem& problem, int64_t sequence) {
  const Pages& pages = problem.pages;
  const int64_t page_size = problem.k.seq;
  const int64_t length = pages.lengths[sequence];
  const int64_t start = pages.starts != nullptr ? pages.starts[sequence] : 0;
  const std::string index = "[" + text(sequence) + "]";
  if (length < 0) {
    fail("pages.lengths" + index + " is " + text(length) + ": must be 0 or more");
  }
  if (start < 0) {
    fail("pages.starts" + index + " is " + text(start) + ": must be 0 or more");
  }
  if (length == 0) {
    return;
  }
  if (page_size == 0) {
    fail("pages of 0 rows with " + text(length) + " keys in sequence " + text(sequence) +
         ": k.seq is the page size and must be 1 or more");
  }
  const int64_t end = (start + length - 1) / page_size + 1;
  if (core::num_sequences(problem) > 1 && pages.stride != 0 && end > pages.stride) {
    fail("pages.lengths" + index + " is " + text(length) + ": " + text(end) + " pages of " +
         text(page_size) + " rows, but a table row has pages.stride " + text(pages.stride) +
         " entries");
  }
  for (int64_t page = start / page_size; page < end; ++page) {
    const int32_t entry = pages.table[sequence * pages.stride + page];
    if (entry < 0 || entry >= problem.k.batch) {
      fail("pages.table" + index + "[" + text(page) + "] is " + text(entry) +
           ": must be from 0 to " + text(problem.k.batch - 1) + ", the pages of k");
    }
  }
}

}  // namespace

void check_documents(const Problem& problem) {
  const Documents& documents = problem.documents;
  if (documents.count < 0) {
    fail("documents.count " + text(documents.count) + ": must be 0 (not packed) or more");
  }
  if (documents.count == 0) {
    if (documents.q_lengths != nullptr || documents.k_lengths != nullptr) {
      fail("document lengths with documents.count 0: set the count and the offsets too");
    }
    return;
  }
  if (problem.q.batch != 1) {
    fail("batch " + text(problem.q.batch) + " with " + text(documents.count) +
         " packed documents: must be 1");
  }
  check_side(query_side(problem));
  check_disjoint(query_side(problem), "a query belongs to one document");
  if (!core::is_paged(problem)) {
    check_side(key_side(problem));
  } else if (documents.k_offsets != nullptr || documents.k_lengths != nullptr) {
    fail(
        "documents.k_offsets or k_lengths together with pages: must be null, pages.table and "
        "pages.lengths say where keys lie");
  }
}

void check_keys_belong_to_one_document(const Problem& problem) {
  if (core::is_packed(problem)) {
    check_disjoint(key_side(problem),
                   "shared keys have a forward only; give each document its own copy");
  }
}

void check_pages(const Problem& problem) {
  const Pages& pages = problem.pages;
  if (!core::is_paged(problem)) {
    if (pages.lengths != nullptr || pages.starts != nullptr) {
      fail("pages.lengths or pages.starts without pages.table: set the table too, or neither");
    }
    return;
  }
  if (pages.lengths == nullptr) {
    fail("pages.lengths is null: " + text(core::num_sequences(problem)) +
         " sequences need their numbers of keys");
  }
  if (pages.stride < 0) {
    fail("pages.stride " + text(pages.stride) + ": must be 0 or more table entries");
  }
  for (int64_t i = 0; i < core::num_sequences(problem); ++i) {
    check_page_row(problem, i);
  }
}

void check_chunks(const Problem& problem) {
  const Chunks& chunks = problem.chunks;
  check_extent("chunks.size", chunks.size, 0);  // 0 = no chunks; sums of cuts must not overflow
  if (chunks.shift < 0 || chunks.shift > chunks.size) {
    fail("chunks.shift " + text(chunks.shift) + ": must be from 0 to chunks.size " +
         text(chunks.size));
  }
  if (chunks.first_shifted_head < 0) {
    fail("chunks.first_shifted_head " + text(chunks.first_shifted_head) +
         ": must be a query head, 0 or more");
  }
}

}  // namespace regard::api
