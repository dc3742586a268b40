// What happens to scores between Q K^T and the softmax, on a transposed tile: scores[key][lane]
// with stride kBlockQ, lanes are the tile's query rows. Scores are in units of log2, so that the
// softmax is an exp2; with softcap they arrive as score / softcap.
#if defined(REGARD_CPU_SCORES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGARD_CPU_SCORES_INL_H_
#undef REGARD_CPU_SCORES_INL_H_
#else
#define REGARD_CPU_SCORES_INL_H_
#endif

#include <cstdint>
#include <limits>

#include "core/dtype.h"
#include "core/philox.h"
#include "cpu/program_tile-inl.h"
#include "cpu/score_tensors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// What Q is multiplied by while it is packed.
inline float query_factor(const Problem& problem) {
  return problem.softcap != 0.0f ? problem.scale / problem.softcap : problem.scale * kLog2E;
}

// Descale factor of a unit; 1 without factors.
inline float descale_of(const Problem& problem, const float* factors, const Unit& unit) {
  return factors == nullptr
             ? 1.0f
             : factors[unit.sequence.index * problem.descale.stride_batch + unit.kv_head];
}

// x becomes softcap * tanh(x) in log2 units; tanh itself is kept for the derivative when asked.
inline void apply_softcap(const ScoreStrip& strip, float* scores, float* tanh_tile) {
  const F32 d;
  const Vec cap = hn::Set(d, strip.problem->softcap * kLog2E);
  for (int64_t key = strip.key_lo; key < strip.key_hi; ++key) {
    for (int64_t lane = 0; lane < strip.num_lanes; lane += kLanes) {
      float* at = strip.at(scores, key, strip.lane_begin + lane);
      const Vec t = tanh_of(hn::Load(d, at));
      hn::Store(hn::Mul(t, cap), d, at);
      if (tanh_tile != nullptr) {
        hn::Store(t, d, strip.at(tanh_tile, key, strip.lane_begin + lane));
      }
    }
  }
}

inline void apply_alibi(const ScoreStrip& strip, float* scores) {
  const F32 d;
  const I32 di;
  const core::Sequence& sequence = strip.unit->sequence;
  HWY_ALIGN float slopes[kBlockQ] = {};
  HWY_ALIGN int32_t positions[kBlockQ] = {};
  for (int64_t lane = 0; lane < strip.live_lanes(); ++lane) {
    const int64_t row = strip.tile->first_row + strip.lane_begin + lane;
    slopes[lane] =
        kLog2E *
        strip.problem->alibi
            .slopes[sequence.batch * strip.problem->alibi.stride_batch + strip.unit->head_of(row)];
    positions[lane] =
        static_cast<int32_t>(strip.unit->query_of(row) + sequence.k_len - sequence.q_len);
  }
  for (int64_t lane = 0; lane < strip.num_lanes; lane += kLanes) {
    const Vec slope = hn::Load(d, slopes + lane);
    const auto position = hn::Load(di, positions + lane);
    for (int64_t key = strip.key_lo; key < strip.key_hi; ++key) {
      const auto offset = hn::Sub(position, hn::Set(di, static_cast<int32_t>(key)));
      const Vec distance = hn::Abs(hn::ConvertTo(d, offset));
      float* at = strip.at(scores, key, strip.lane_begin + lane);
      hn::Store(hn::NegMulAdd(slope, distance, hn::Load(d, at)), d, at);
    }
  }
}

// Keys of the strip that every one of its rows sees.
inline core::KeyInterval keys_all_rows_see(const ScoreStrip& strip) {
  core::KeyInterval keys{strip.key_lo, strip.key_hi};
  for (int64_t lane = 0; lane < strip.live_lanes(); ++lane) {
    keys.lo = std::max<int64_t>(keys.lo, strip.tile->lo[strip.lane_begin + lane]);
    keys.hi = std::min<int64_t>(keys.hi, strip.tile->hi[strip.lane_begin + lane]);
  }
  return keys.is_empty() ? core::KeyInterval{strip.key_hi, strip.key_hi} : keys;
}

// Scores of keys [begin, end) outside a row's interval become -inf.
inline void mask_keys(const ScoreStrip& strip, int64_t begin, int64_t end, float* scores) {
  const F32 d;
  const I32 di;
  const Vec masked = hn::Set(d, kMasked);
  for (int64_t lane = 0; lane < strip.num_lanes; lane += kLanes) {
    const auto lo = hn::LoadU(di, strip.tile->lo + strip.lane_begin + lane);
    const auto hi = hn::LoadU(di, strip.tile->hi + strip.lane_begin + lane);
    for (int64_t key = begin; key < end; ++key) {
      const auto position = hn::Set(di, static_cast<int32_t>(key));
      const auto is_live = hn::AndNot(hn::Lt(position, lo), hn::Lt(position, hi));
      float* at = strip.at(scores, key, strip.lane_begin + lane);
      hn::Store(hn::IfThenElse(hn::RebindMask(d, is_live), hn::Load(d, at), masked), d, at);
    }
  }
}

// Causal, window: only the keys that some row of the strip does not see need the comparison.
inline void apply_limits(const ScoreStrip& strip, float* scores) {
  const core::KeyInterval seen = keys_all_rows_see(strip);
  mask_keys(strip, strip.key_lo, seen.lo, scores);
  mask_keys(strip, seen.hi, strip.key_hi, scores);
}

// The score program in place, leaving what strip.programs asks for.
inline void apply_score_program_to_strip(const ScoreStrip& strip, float* scores) {
  if (strip.programs.raw != nullptr) {
    for (int64_t key = strip.key_lo; key < strip.key_hi; ++key) {
      std::copy_n(strip.at(scores, key, strip.lane_begin), strip.num_lanes,
                  strip.at(strip.programs.raw, key, strip.lane_begin));
    }
  }
  apply_score_program(strip, scores, scores, strip.programs.derivative, strip.programs.memory);
}

// Everything that hides pairs. Last, so that what a hidden score was does not matter: NaN of a
// masked key ends here.
inline void apply_masks(const ScoreStrip& strip, bool is_full, float* scores) {
  const Problem& problem = *strip.problem;
  if (problem.mask.data != nullptr) {
    apply_score_tensor(strip, MaskRows{problem.mask}, scores);
  }
  if (has_block_mask(problem) && strip.cover == Cover::some) {
    apply_block_mask(strip, scores);
  }
  if (problem.mask_program.program != nullptr && strip.cover != Cover::full) {
    apply_mask_program(strip, scores, strip.programs.memory);
  }
  if (!is_full) {
    apply_limits(strip, scores);
  }
}

// All of the above, as the problem asks.
inline void apply_terms(const ScoreStrip& strip, bool is_full, float* scores, float* tanh_tile) {
  const Problem& problem = *strip.problem;
  if (problem.softcap != 0.0f) {
    apply_softcap(strip, scores, tanh_tile);
  }
  if (problem.score_program.program != nullptr && strip.key_lo < strip.key_hi) {
    apply_score_program_to_strip(strip, scores);
  }
  if (problem.alibi.slopes != nullptr) {
    apply_alibi(strip, scores);
  }
  if (problem.bias.data != nullptr) {
    apply_score_tensor(strip, BiasRows{problem.bias}, scores);
  }
  apply_masks(strip, is_full, scores);
}

// keep[key][lane] = 1 / (1 - p) where the weight is kept, 0 where it is dropped.
inline void fill_dropout(const ScoreStrip& strip, float* keep) {
  const Dropout& dropout = strip.problem->dropout;
  const uint32_t threshold = core::dropout_threshold(dropout.probability);
  const float scale = core::dropout_scale(dropout.probability);
  for (int64_t lane = 0; lane < strip.live_lanes(); ++lane) {
    const int64_t row = strip.tile->first_row + strip.lane_begin + lane;
    for (int64_t group = strip.key_lo / 4; group * 4 < strip.key_hi; ++group) {
      const core::Philox4x32 words =
          core::dropout_words(dropout.seed, strip.unit->sequence.index, strip.unit->head_of(row),
                              strip.unit->query_of(row), group);
      const int64_t end = std::min(strip.key_hi, group * 4 + 4);
      for (int64_t key = std::max(strip.key_lo, group * 4); key < end; ++key) {
        *strip.at(keep, key, strip.lane_begin + lane) =
            words.word[key % 4] >= threshold ? scale : 0.0f;
      }
    }
  }
}

// Entries of keys [lo, hi) of the strip's lanes = 0.
inline void clear_keys(const ScoreStrip& strip, int64_t lo, int64_t hi, float* scores) {
  for (int64_t key = lo; key < hi; ++key) {
    std::fill_n(strip.at(scores, key, strip.lane_begin), strip.num_lanes, 0.0f);
  }
}

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
