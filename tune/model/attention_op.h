// Attention of the model: rotary embedding, then Regard's engine, as one autograd operation.
#pragma once

#include <torch/types.h>

#include <optional>

#include "regard/modules.h"

namespace tune {
class FlexPrograms;
}

namespace tune::ops {

// What all layers of one forward share about its tokens.
struct SequenceLayout {
  // i32 [documents + 1]: first 0, last = tokens. In main memory; for tensors on a GPU in pinned
  // memory, which it reads too, so that it must live until the work is done.
  torch::Tensor document_offsets;
  torch::Tensor cos, sin;  // f32 [tokens, head_dim / 2], on the device of q
};

// What all layers of a model share about the module of the configuration.
struct AttentionChoice {
  regard::Module module = regard::Module::sdpa;
  int64_t row_length = 0;  // s2: the sequence_len whose quarters are the groups
  bool is_training = true;
  const FlexPrograms* programs = nullptr;  // flex_attention; null = plain causal
};

struct AttentionShape {
  AttentionChoice choice;
  int64_t num_heads = 0, num_kv_heads = 0, head_dim = 0;
  std::optional<int64_t> window;  // keys besides the query's own are window - 1
};

// q [tokens, Hq*D], k and v [tokens, Hkv*D], before rotation; returns [tokens, Hq*D]. Causal inside
// each document. The engine reads the tensors where they lie, as [1, tokens, heads, D]; kept for
// the backward are rotated q and k, v, the output and the log-sum-exp, never tokens x tokens
// values.
torch::Tensor rotary_attention(const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v, const AttentionShape& shape,
                               const SequenceLayout& layout);

// The forward of new queries, which are the last of the sequence, over all keys so far (rotated
// already): q [queries, Hq*D], k and v [keys, Hkv*D].
torch::Tensor attention_to_cache(const torch::Tensor& q, const torch::Tensor& k,
                                 const torch::Tensor& v, const AttentionShape& shape);

// Rotated copy; sign -1 turns back.
torch::Tensor rotated(const torch::Tensor& x, const SequenceLayout& layout, int64_t head_dim,
                      float sign);

// Whether a GPU computes the module in bf16 also where the model computes in f32 (rule 19).
bool takes_bf16_on_gpu(regard::Module module);

// What rotary_attention asks of the engine for operands like these.
regard::Problem attention_problem(const torch::Tensor& q, const torch::Tensor& k,
                                  const torch::Tensor& v, const AttentionShape& shape,
                                  const SequenceLayout& layout);

}  // namespace tune::ops
