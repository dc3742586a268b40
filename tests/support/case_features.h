// What a generated case can have: one feature at a time, or many at random.
#pragma once

#include <random>
#include <span>

#include "tests/support/attention_case.h"

namespace regard::testing {

// Each adds one feature to a case whose shape is set; the first adds nothing.
using AddFeature = void (*)(AttentionCase& config);
std::span<const AddFeature> case_features();

// Masks, terms, documents and gradients in random combination.
void add_random_features(AttentionCase& config, std::mt19937& engine);
// Pages or f8_e4m3 operands, now and then: such cases have a forward only.
void add_random_storage(AttentionCase& config, std::mt19937& engine);

}  // namespace regard::testing
