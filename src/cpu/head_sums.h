// Gradients that are one number a query head (sink logits, ALiBi slopes): every row tile has its
// own partial sums, which are added in the order of tiles, so that threads cannot change them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/tile_plan.h"

namespace regard::cpu {

class HeadSums {
 public:
  // Sums for `out`, [Hq], or [B, Hq] with `has_batch`; null `out`: nothing is computed.
  HeadSums(const Problem& problem, float* out, bool has_batch)
      : out_(out),
        num_heads_(static_cast<size_t>(problem.q.heads)),
        group_(problem.k.heads > 0 ? num_heads_ / static_cast<size_t>(problem.k.heads) : 0),
        has_batch_(has_batch),
        totals_(out == nullptr
                    ? 0
                    : num_heads_ * (has_batch ? static_cast<size_t>(problem.q.batch) : 1)) {}

  bool is_wanted() const { return out_ != nullptr; }

  // Room for the tiles of a wave.
  void start(size_t num_tiles) {
    if (is_wanted()) {
      partial_.assign(num_tiles * group_, 0.0);
    }
  }
  // Sums of tile `tile`, one for each query head of its group.
  double* of_tile(size_t tile) { return partial_.data() + tile * group_; }

  // Adds the sums of a wave's tiles; tile i belongs to units[tiles[i].unit].
  void finish(const std::vector<Unit>& units, const std::vector<UnitPart>& tiles) {
    for (size_t i = 0; i < tiles.size() && is_wanted(); ++i) {
      const Unit& unit = units[tiles[i].unit];
      const size_t row = has_batch_ ? static_cast<size_t>(unit.sequence.batch) * num_heads_ : 0;
      for (size_t head = 0; head < group_; ++head) {
        totals_[row + static_cast<size_t>(unit.kv_head) * group_ + head] += of_tile(i)[head];
      }
    }
  }

  void write() const {
    for (size_t i = 0; i < totals_.size(); ++i) {
      out_[i] = static_cast<float>(totals_[i]);
    }
  }

 private:
  float* out_;
  size_t num_heads_, group_;
  bool has_batch_;
  std::vector<double> partial_, totals_;
};

}  // namespace regard::cpu
