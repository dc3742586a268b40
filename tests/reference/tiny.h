// Problems small enough to compute by hand.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "reference/attention.h"
#include "regard/problem.h"

namespace regard {

// Head size 1: scores are products of numbers, and with v_j = 10^j the output shows who was seen.
struct Tiny {
  Tiny(std::vector<float> q_values, std::vector<float> k_values, std::vector<float> v_values,
       int64_t q_heads = 1, int64_t kv_heads = 1)
      : q(std::move(q_values)),
        k(std::move(k_values)),
        v(std::move(v_values)),
        o(q.size()),
        lse(q.size()) {
    problem.q = view_of(q, q_heads);
    problem.k = view_of(k, kv_heads);
    problem.v = view_of(v, kv_heads);
    problem.scale = 1.0f;
  }

  static View view_of(std::vector<float>& values, int64_t heads) {
    const auto seq = static_cast<int64_t>(values.size()) / heads;
    return {.data = values.data(),
            .batch = 1,
            .seq = seq,
            .heads = heads,
            .dim = 1,
            .stride_batch = seq * heads,
            .stride_seq = heads,
            .stride_head = 1};
  }

  void forward() {
    reference::forward(problem, {.o = view_of(o, problem.q.heads),
                                 .lse = {lse.data(), problem.q.seq, problem.q.seq}});
  }

  std::vector<float> q, k, v, o, lse;
  Problem problem;
};

// Queries of zeros: every key that is seen has the same weight, O is the mean of the values seen.
inline Tiny uniform(size_t num_queries, std::vector<float> v) {
  std::vector<float> k(v.size(), 1.0f);
  return Tiny(std::vector<float>(num_queries, 0.0f), std::move(k), std::move(v));
}

}  // namespace regard
