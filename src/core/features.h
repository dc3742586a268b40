// Which parts of a Problem are in use: what a back end says it cannot serve is named by these.
#pragma once

#include <cstdint>

#include "regard/problem.h"

namespace regard::core {

enum class Feature : uint8_t {
  chunks,
  lengths,
  pages,
  block_mask,
  sink,
  score_program,
  mask_program,
  descale,
  f8,
  int8_scores,
  rounded_values,
};

inline constexpr int kNumFeatures = 11;

constexpr const char* name_of(Feature feature) {
  constexpr const char* kNames[kNumFeatures] = {
      "chunks",      "document lengths", "pages",           "a block mask",
      "a sink",      "a score program",  "a mask program",  "descale factors",
      "f8 operands", "int8 scores",      "rounded P and V",
  };
  return kNames[static_cast<int>(feature)];
}

constexpr bool uses(const Problem& problem, Feature feature) {
  switch (feature) {
    case Feature::chunks:
      return problem.chunks.size != 0;
    case Feature::lengths:
      return problem.documents.q_lengths != nullptr || problem.documents.k_lengths != nullptr;
    case Feature::pages:
      return problem.pages.table != nullptr;
    case Feature::block_mask:
      return problem.block_mask.row_offsets != nullptr;
    case Feature::sink:
      return problem.sink.logits != nullptr;
    case Feature::score_program:
      return problem.score_program.program != nullptr;
    case Feature::mask_program:
      return problem.mask_program.program != nullptr;
    case Feature::descale:
      return problem.descale.q != nullptr || problem.descale.k != nullptr ||
             problem.descale.v != nullptr;
    case Feature::f8:
      return problem.q.dtype == DType::f8_e4m3;
    case Feature::int8_scores:
      return problem.quantization.scores != ScoreFormat::exact;
    case Feature::rounded_values:
      return problem.quantization.values != ValueFormat::exact;
  }
  return false;
}

// A set of features as bits.
constexpr uint32_t bit(Feature feature) { return uint32_t{1} << static_cast<int>(feature); }

// Optional gradients of a backward.
enum class Gradient : uint8_t { bias, slopes, sink, tensors };

inline constexpr int kNumGradients = 4;
inline constexpr uint32_t kAllGradients = (uint32_t{1} << kNumGradients) - 1;

constexpr const char* name_of(Gradient gradient) {
  constexpr const char* kNames[kNumGradients] = {"d_bias", "d_slopes", "d_sink", "d_tensors"};
  return kNames[static_cast<int>(gradient)];
}

constexpr bool asks_for(const BackwardTensors& tensors, Gradient gradient) {
  switch (gradient) {
    case Gradient::bias:
      return tensors.d_bias.data != nullptr;
    case Gradient::slopes:
      return tensors.d_slopes != nullptr;
    case Gradient::sink:
      return tensors.d_sink != nullptr;
    case Gradient::tensors:
      return tensors.d_tensors != nullptr;
  }
  return false;
}

constexpr uint32_t bit(Gradient gradient) { return uint32_t{1} << static_cast<int>(gradient); }

// Name of the first feature in use (or gradient asked for) that `served` lacks; nullptr when all
// are served.
constexpr const char* first_unserved(const BackwardTensors& tensors, uint32_t served) {
  for (int i = 0; i < kNumGradients; ++i) {
    const auto gradient = static_cast<Gradient>(i);
    if (asks_for(tensors, gradient) && (served & bit(gradient)) == 0) {
      return name_of(gradient);
    }
  }
  return nullptr;
}
constexpr const char* first_unserved(const Problem& problem, uint32_t served) {
  for (int i = 0; i < kNumFeatures; ++i) {
    const auto feature = static_cast<Feature>(i);
    if (uses(problem, feature) && (served & bit(feature)) == 0) {
      return name_of(feature);
    }
  }
  return nullptr;
}

}  // namespace regard::core
