// Which modules are adapted or trained in full, and the adapters' first values.
#pragma once

#include "tune/model/decoder.h"
#include "tune/model/language_model.h"

namespace tune {

// "model.layers.0.self_attn.q_proj" matches "q_proj" and "self_attn.q_proj", as in PEFT.
bool path_matches(std::string_view path, std::string_view target);

// Whether modules_to_save asks for this parameter: as in PEFT any end of its module's path counts,
// so that "norm" means all norms. With tied embeddings "lm_head" means the
// embedding: the matrix is one.
bool is_saved_module(const Decoder& decoder, const ModelOptions& options,
                     const Parameter& parameter);

// Puts A (Kaiming uniform with a = sqrt(5), that is U(-1/sqrt(in), 1/sqrt(in))) and B (zeros) into
// the layers the options name. Throws UsageError, listing the model's module names, for a target or
// saved module that is not there.
void attach_lora(Decoder& decoder, const ModelOptions& options);

// W + scale B A, f32.
torch::Tensor merged_weight(const Linear& layer);

}  // namespace tune
