// The topics of validation. Every check throws Error(invalid_argument) with the value, the limit
// and what to do instead.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "modules/checks.h"
#include "regard/problem.h"

namespace regard::api {

using checks::check_same;
using checks::fail;
using checks::shape_text;
using checks::text;

// Views (validate_views.cc).
bool is_empty(const View& view);
void check_extent(const std::string& name, int64_t value, int64_t least);
void check_pointer(const std::string& name, const void* data, int64_t alignment);
void check_strides(const std::string& name, std::array<int64_t, 4> strides);
void check_view(const std::string& name, const View& view);
// An output: the shape of `like`, no f8, no two elements in one place.
void check_output(const std::string& name, const View& view, const View& like,
                  const std::string& like_name);

struct Axis {
  int64_t stride, extent;
};
// `inner` elements lie side by side at every point of the axes.
void check_no_overlap(const std::string& name, std::array<Axis, 4> axes, int64_t inner);

// Sequences (validate_sequences.cc).
void check_documents(const Problem& problem);
void check_pages(const Problem& problem);
void check_chunks(const Problem& problem);
// Gradients of a key that two documents share would be written twice.
void check_keys_belong_to_one_document(const Problem& problem);

// What changes scores (validate_scores.cc).
void check_scalars(const Problem& problem);
void check_score_tensors(const Problem& problem);  // mask, bias, ALiBi, sink
void check_block_mask(const Problem& problem);
void check_precision(const Problem& problem);  // descale, quantization

// Optional gradients (validate_gradients.cc).
void check_score_gradients(const Problem& problem, const BackwardTensors& tensors);

}  // namespace regard::api
