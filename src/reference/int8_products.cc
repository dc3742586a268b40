#include "reference/int8_products.h"

#include <algorithm>
#include <cstddef>

#include "core/int8_groups.h"

namespace regard::reference {
namespace {

// Rounds rows [begin, end) of `width` values, columns [lo, hi), through int8 with one scale.
void round_tile(float* rows, int64_t width, int64_t begin, int64_t end, int64_t lo, int64_t hi) {
  uint32_t largest = 0;
  for (int64_t row = begin; row < end; ++row) {
    largest = core::max_magnitude_bits(rows + row * width + lo, hi - lo, largest);
  }
  const float scale = core::scale_of_group(largest, core::kInt8Steps);
  for (int64_t row = begin; row < end; ++row) {
    for (float* x = rows + row * width + lo; x != rows + row * width + hi; ++x) {
      *x = core::int8_of(*x, scale) * scale;
    }
  }
}

void round_tiles(std::vector<float>& values, int64_t q_len, int64_t k_len) {
  for (int64_t query = 0; query < q_len; query += core::kInt8TileQueries) {
    for (int64_t key = 0; key < k_len; key += core::kKeyBlock) {
      round_tile(values.data(), k_len, query, std::min(q_len, query + core::kInt8TileQueries), key,
                 std::min(k_len, key + core::kKeyBlock));
    }
  }
}

// dO of each block of queries through int8.
Rows rounded_rows(const Rows& d_o) {
  const auto num_rows = static_cast<int64_t>(d_o.size());
  const auto dim = num_rows == 0 ? 0 : static_cast<int64_t>(d_o[0].size());
  std::vector<float> values;
  for (const std::vector<double>& row : d_o) {
    values.insert(values.end(), row.begin(), row.end());
  }
  for (int64_t begin = 0; begin < num_rows; begin += core::kInt8TileQueries) {
    round_tile(values.data(), dim, begin, std::min(num_rows, begin + core::kInt8TileQueries), 0,
               dim);
  }
  Rows rounded;
  for (int64_t row = 0; row < num_rows; ++row) {
    rounded.emplace_back(values.begin() + row * dim, values.begin() + (row + 1) * dim);
  }
  return rounded;
}

}  // namespace

Int8Products::Int8Products(int64_t q_len, int64_t k_len)
    : weights_(static_cast<size_t>(q_len * k_len), 0.0f),
      ds_(static_cast<size_t>(q_len * k_len), 0.0f),
      q_len_(q_len),
      k_len_(k_len) {}

void Int8Products::set(int64_t query, int64_t key, double weight, double ds) {
  const auto at = static_cast<size_t>(query * k_len_ + key);
  weights_[at] = static_cast<float>(weight);
  ds_[at] = static_cast<float>(ds);
}

void Int8Products::add_to(const HeadOperands& operands, const Rows& d_o, double scale,
                          int64_t int8_dim, Rows& dq, Rows& dk, Rows& dv) {
  const std::vector<float> exact_ds = ds_;
  round_tiles(weights_, q_len_, k_len_);
  round_tiles(ds_, q_len_, k_len_);
  const Rows rounded_d_o = rounded_rows(d_o);
  for (int64_t query = 0; query < q_len_; ++query) {
    const auto i = static_cast<size_t>(query);
    for (int64_t key = 0; key < k_len_; ++key) {
      const auto j = static_cast<size_t>(key);
      const auto at = static_cast<size_t>(query * k_len_ + key);
      add(dv[j], weights_[at], rounded_d_o[i]);
      add(dk[j], scale * ds_[at], operands.q[i]);
      for (size_t d = 0; d < dq[i].size(); ++d) {
        const float ds = static_cast<int64_t>(d) < int8_dim ? ds_[at] : exact_ds[at];
        dq[i][d] += scale * ds * operands.k[j][d];
      }
    }
  }
}

}  // namespace regard::reference
