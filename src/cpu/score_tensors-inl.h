// Dense bias, boolean mask and block mask on a strip of a transposed score tile. A bias or mask row
// has its keys side by side in memory, a tile its query rows: rows are read whole and transposed.
#if defined(REGARD_CPU_SCORE_TENSORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_SCORE_TENSORS_INL_H_
#undef REGARD_CPU_SCORE_TENSORS_INL_H_
#else
#define REGARD_CPU_SCORE_TENSORS_INL_H_
#endif

#include <cstdint>
#include <limits>

#include "core/block_mask.h"
#include "core/dtype.h"
#include "cpu/pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

inline constexpr float kLog2E = 1.44269504088896340736f;
inline constexpr float kLn2 = 0.69314718055994530942f;
inline constexpr float kMasked = -std::numeric_limits<float>::infinity();

// What programs need besides the scores: scratch, and tiles that are null when not asked for.
struct ProgramTiles {
  float* memory = nullptr;      // program_floats()
  float* derivative = nullptr;  // d program / d score
  float* raw = nullptr;         // scores before the program
};

// One strip of lanes of one key block. Keys count from the sequence's first; row 0 of `scores` is
// key `base`.
struct ScoreStrip {
  const Problem* problem;
  const Unit* unit;
  const RowTile* tile;
  int64_t base;
  int64_t key_lo, key_hi;  // keys that hold scores
  int64_t lane_begin;
  int64_t num_lanes;          // whole vectors; may go past the tile's rows
  Cover cover = Cover::some;  // of the strip's pairs
  ProgramTiles programs = {};

  int64_t live_lanes() const {
    return num_lanes < tile->num_rows - lane_begin ? num_lanes : tile->num_rows - lane_begin;
  }
  float* at(float* scores, int64_t key, int64_t lane) const {
    return scores + (key - base) * kBlockQ + lane;
  }
};

// Offset in a [B, Hq, Sq, Sk] tensor of the first key of the sequence, for lane `lane` of a strip.
template <class Tensor>
int64_t tensor_row_offset(const ScoreStrip& strip, const Tensor& tensor, int64_t lane) {
  const core::Sequence& sequence = strip.unit->sequence;
  const int64_t row = strip.tile->first_row + strip.lane_begin + lane;
  return sequence.batch * tensor.stride_batch + strip.unit->head_of(row) * tensor.stride_head +
         (sequence.q_begin + strip.unit->query_of(row)) * tensor.stride_q +
         sequence.k_begin * tensor.stride_k;
}

// A bias in log2 units. A finite one stays finite: a row whose every key has the lowest f32
// averages V, though lowest * log2(e) is -inf.
inline float bias_in_log2(float bias) {
  constexpr float kLowest = std::numeric_limits<float>::lowest();
  const float scaled = bias * kLog2E;
  return bias != kMasked && scaled < kLowest ? kLowest : scaled;
}

// Keys [lo, hi) of the bias row at element `offset`, in log2 units; and their use.
struct BiasRows {
  const BiasTensor& tensor;
  static constexpr float kNeutral = 0.0f;

  void load(int64_t offset, int64_t lo, int64_t hi, float* HWY_RESTRICT to) const {
    if (tensor.stride_k == 1) {
      View row;
      row.data = const_cast<void*>(tensor.data);
      row.dtype = tensor.dtype;
      row.dim = hi - lo;
      load_row(row, offset + lo, 1.0f, to);
      for (int64_t i = 0; i < hi - lo; ++i) {
        to[i] = bias_in_log2(to[i]);
      }
      return;
    }
    for (int64_t key = lo; key < hi; ++key) {
      to[key - lo] =
          bias_in_log2(core::load(tensor.data, tensor.dtype, offset + key * tensor.stride_k));
    }
  }
  static HWY_INLINE Vec combine(Vec score, Vec bias) { return hn::Add(score, bias); }
};

// The same of a mask: -inf where it hides the key, else 0. A hidden score is replaced, not added
// to: it may be NaN.
struct MaskRows {
  const MaskTensor& tensor;
  static constexpr float kNeutral = 0.0f;

  void load(int64_t offset, int64_t lo, int64_t hi, float* HWY_RESTRICT to) const {
    const uint8_t* HWY_RESTRICT from = tensor.data + offset;
    if (tensor.stride_k == 1) {
      for (int64_t key = lo; key < hi; ++key) {
        to[key - lo] = from[key] != 0 ? 0.0f : kMasked;
      }
      return;
    }
    for (int64_t key = lo; key < hi; ++key) {
      to[key - lo] = from[key * tensor.stride_k] != 0 ? 0.0f : kMasked;
    }
  }
  static HWY_INLINE Vec combine(Vec score, Vec mask) {
    return hn::IfThenElse(hn::Eq(mask, hn::Set(F32(), kMasked)), mask, score);
  }
};

// Lanes [lane, lane + kLanes) of a strip over keys [lo, hi), at most kBlockK of them.
template <class Rows>
void apply_to_lanes(const ScoreStrip& strip, const Rows& rows, int64_t lane, int64_t lo, int64_t hi,
                    float* scores) {
  HWY_ALIGN float by_lane[kLanes * kBlockK];
  HWY_ALIGN float by_key[kLanes * kBlockK];
  const auto num_keys = static_cast<size_t>(hi - lo);
  const auto live = static_cast<size_t>(
      std::min<int64_t>(static_cast<int64_t>(kLanes), strip.live_lanes() - lane));
  for (size_t i = 0; i < live; ++i) {
    const int64_t at = lane + static_cast<int64_t>(i);
    // Keys that the row does not see are never read.
    const int64_t first = std::clamp<int64_t>(strip.tile->lo[strip.lane_begin + at], lo, hi);
    const int64_t last = std::clamp<int64_t>(strip.tile->hi[strip.lane_begin + at], first, hi);
    float* row = by_lane + i * num_keys;
    std::fill(row, row + (first - lo), Rows::kNeutral);
    rows.load(tensor_row_offset(strip, rows.tensor, at), first, last, row + (first - lo));
    std::fill(row + (last - lo), row + num_keys, Rows::kNeutral);
  }
  interleave(by_lane, live, num_keys, kLanes, by_key);
  for (size_t key = 0; key < num_keys; ++key) {
    float* to = strip.at(scores, lo + static_cast<int64_t>(key), strip.lane_begin + lane);
    hn::Store(Rows::combine(hn::Load(F32(), to), hn::Load(F32(), by_key + key * kLanes)), F32(),
              to);
  }
}

// The same where every row reads the same entries (a mask over keys alone).
template <class Rows>
void apply_one_row(const ScoreStrip& strip, const Rows& rows, int64_t lo, int64_t hi,
                   float* scores) {
  HWY_ALIGN float row[kBlockK];
  rows.load(tensor_row_offset(strip, rows.tensor, 0), lo, hi, row);
  for (int64_t key = lo; key < hi; ++key) {
    if (row[key - lo] == Rows::kNeutral) {
      continue;
    }
    const Vec term = hn::Set(F32(), row[key - lo]);
    for (int64_t lane = 0; lane < strip.num_lanes; lane += kLanes) {
      float* to = strip.at(scores, key, strip.lane_begin + lane);
      hn::Store(Rows::combine(hn::Load(F32(), to), term), F32(), to);
    }
  }
}

template <class Rows>
void apply_score_tensor(const ScoreStrip& strip, const Rows& rows, float* scores) {
  const bool is_one_row =
      rows.tensor.stride_q == 0 && (rows.tensor.stride_head == 0 || strip.unit->group == 1);
  for (int64_t lo = strip.key_lo; lo < strip.key_hi; lo += kBlockK) {
    const int64_t hi = std::min(strip.key_hi, lo + kBlockK);
    if (is_one_row) {
      apply_one_row(strip, rows, lo, hi, scores);
      continue;
    }
    for (int64_t lane = 0; lane < strip.live_lanes(); lane += kLanes) {
      apply_to_lanes(strip, rows, lane, lo, hi, scores);
    }
  }
}

// Scores of keys [lo, hi) become -inf in lanes whose `listed` is not 0.
inline void hide_unlisted(const ScoreStrip& strip, const float* listed, int64_t lo, int64_t hi,
                          float* scores) {
  const F32 d;
  const Vec masked = hn::Set(d, kMasked);
  for (int64_t lane = 0; lane < strip.num_lanes; lane += kLanes) {
    const auto is_hidden = hn::Eq(hn::Load(d, listed + lane), masked);
    for (int64_t key = lo; key < hi; ++key) {
      float* to = strip.at(scores, key, strip.lane_begin + lane);
      hn::Store(hn::IfThenElse(is_hidden, masked, hn::Load(d, to)), d, to);
    }
  }
}

// Pairs whose block is not listed become -inf, one column of blocks after the other.
inline void apply_block_mask(const ScoreStrip& strip, float* scores) {
  const BlockMaskView& mask = strip.problem->block_mask;
  const core::Sequence& sequence = strip.unit->sequence;
  core::BlockRow rows[kStripLanes];
  for (int64_t lane = 0; lane < strip.live_lanes(); ++lane) {
    const int64_t row = strip.tile->first_row + strip.lane_begin + lane;
    rows[lane] = core::block_row_at(mask, sequence.batch, strip.unit->head_of(row),
                                    sequence.q_begin + strip.unit->query_of(row));
  }
  int64_t key = strip.key_lo;
  while (key < strip.key_hi) {
    const int64_t column = (sequence.k_begin + key) / mask.block_k;
    const int64_t end =
        std::min<int64_t>(strip.key_hi, (column + 1) * mask.block_k - sequence.k_begin);
    HWY_ALIGN float listed[kStripLanes] = {};  // 0, or -inf where the column is hidden
    bool hides = false;
    for (int64_t lane = 0; lane < strip.live_lanes(); ++lane) {
      if (!rows[lane].lists(column)) {
        listed[lane] = kMasked;
        hides = true;
      }
    }
    if (hides) {
      hide_unlisted(strip, listed, key, end, scores);
    }
    key = end;
  }
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
