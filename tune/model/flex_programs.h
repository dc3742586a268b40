// The score and mask programs of flex_attention in a model: compiled once, with the memory of their
// tensors, shared by all layers.
#pragma once

#include <torch/types.h>

#include <optional>
#include <string>
#include <vector>

#include "regard/modules.h"
#include "regard/program.h"
#include "tune/model/parameter.h"

namespace tune {

// A tensor that the programs name: `from` is "alibi" (slopes of the model's heads) or
// FILE.safetensors#name.
struct FlexTensorSource {
  std::string name, from;
  bool is_trained = false;
};

struct FlexOptions {
  std::string score_mod, mask_mod;  // empty = none; without a mask a query sees no later key
  std::vector<FlexTensorSource> tensors;

  bool is_empty() const { return score_mod.empty() && mask_mod.empty(); }
};

// Slopes of ALiBi (Press et al. 2022, section 3): 2^(-8 i / n) for i = 1 .. n where the number of
// heads n is a power of two; else those of the next smaller power, then every other one of its
// double.
std::vector<float> alibi_slopes(int64_t num_heads);

class FlexPrograms {
 public:
  // Compiles the texts and loads the tensors. Throws tune::UsageError for a text that is no program
  // (with the position), a missing file or tensor, and a trained tensor that the score program does
  // not read or that is not real.
  // The tensors lie on `device`.
  FlexPrograms(const FlexOptions& options, int64_t num_heads,
               const torch::Device& device = torch::kCPU);

  // Sets the programs of one call; query 0 of the call stands at `first_query`.
  void bind(int64_t first_query, regard::AttentionOptions& options) const;

  // The trained tensors, f32, named "flex_tensors.NAME".
  std::vector<Parameter>& parameters() { return trained_; }
  // All trained tensors one after the other, [elements], connected to their masters; empty
  // where none is trained.
  torch::Tensor trained_values() const;
  // Where each tensor of the score program has its gradient inside `flat`, which is laid out as
  // trained_values(); null where it is not trained.
  std::vector<float*> gradient_places(float* flat) const;

  // Writes the trained tensors to flex_tensors.safetensors in `folder`; nothing where none is
  // trained.
  void save(const std::string& folder) const;

 private:
  // A program with the memory of its tensors, in its own order.
  struct Bound {
    regard::Program program;
    std::vector<size_t> sources;  // index into tensors_
    std::vector<regard::ProgramTensor> memory;
  };
  Bound compile(const std::string& text, regard::ProgramKind kind, const char* key) const;
  regard::ProgramTensor memory_of(const torch::Tensor& tensor) const;
  void check_trained_are_read() const;

  std::vector<FlexTensorSource> sources_;
  std::vector<torch::Tensor> tensors_;  // f32 or i32, contiguous; a trained one is its master
  std::vector<Parameter> trained_;
  std::vector<int64_t> trained_index_;  // by source: index into trained_, or -1
  std::optional<Bound> score_, mask_;
};

inline constexpr const char* kFlexTensorsFile = "flex_tensors.safetensors";

}  // namespace tune
