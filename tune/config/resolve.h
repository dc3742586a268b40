// What a configuration leaves open, decided in one place: the rules that report a value as set ask
// the same functions.
#pragma once

#include "tune/config/facts.h"

namespace tune {

// Fills facts.config: attention, bf16, the batch keys, and what packing sets.
void resolve_defaults(Facts& facts);

// Rule 22: what `bf16: auto` becomes on this machine.
bool resolves_bf16(const Facts& facts);

// Rule 20: sample_packing sets these keys, because they are not given.
bool sets_pad_to_sequence_len(const Facts& facts);
bool sets_eval_sample_packing(const Facts& facts);

// Neither bf16 nor fp16 after the rules.
bool trains_in_fp32(const Facts& facts);

// What the model and the precision ask of an attention kernel (rule 30). `facts.model` must be set.
regard::ModelNeeds model_needs(const Facts& facts, regard::Module module);

}  // namespace tune
