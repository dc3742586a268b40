// Operands as rows of doubles: one query or key/value head of one sequence at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/sequences.h"
#include "regard/problem.h"

namespace regard::reference {

// rows[i] is query or key i of the sequence, `dim` numbers.
using Rows = std::vector<std::vector<double>>;

// What one query head reads of a sequence, descaled: q [q_len][D], k [k_len][D], v [k_len][Dv].
struct HeadOperands {
  Rows q, k, v;
};
HeadOperands load_head(const Problem& problem, const core::Sequence& sequence, int64_t head);

// Rows of the sequence's queries in a tensor [B, Sq, Hq, any].
Rows load_queries(const View& view, const core::Sequence& sequence, int64_t head);

void store_row(const View& view, int64_t batch, int64_t seq, int64_t head,
               const std::vector<double>& values);
// Every element = 0: queries and keys that belong to no sequence keep it.
void store_zeros(const View& view);

double dot(const std::vector<double>& a, const std::vector<double>& b);
// sum += factor * values
void add(std::vector<double>& sum, double factor, const std::vector<double>& values);

}  // namespace regard::reference
