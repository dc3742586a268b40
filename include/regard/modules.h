// Attention modules: the names users write in a configuration, and what each of them asks for.
// Requirements are data; the rules of a configuration file and `regard doctor` read the same table
// that the engine's own choice reads.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "regard/export.h"
#include "regard/machine.h"
#include "regard/problem.h"

namespace regard {

enum class Module : uint8_t {
  sdpa,
  flash_attention_2,
  flash_attention_3,
  flex_attention,
  sage,
  xformers,
  s2,
  eager,
};

struct ModuleInfo {
  Module module;
  std::string_view name;      // canonical: "sdpa"; the value of attn_implementation
  std::string_view yaml_key;  // "sdp_attention"; empty where only attn_implementation names it
                              // (flash_attention_3)
  std::string_view summary;   // one sentence for the table of `regard doctor` and the docs
  int64_t max_head_dim;       // 0 = no limit
};

// All modules, in the order of the design's table.
REGARD_API std::span<const ModuleInfo> modules();
REGARD_API const ModuleInfo& module_info(Module module);
REGARD_API std::optional<Module> find_module(std::string_view canonical_name);

// What a model asks of a module, known before any weight is read.
struct ModelNeeds {
  int64_t head_dim = 0;
  DType dtype = DType::f32;
  bool training = true;
};

// Why `module` cannot run on `machine` at all (device generation, toolkit); empty when it can. One
// sentence with the value found, what is needed, and the module to use instead.
REGARD_API std::string why_unsupported(Module module, const Machine& machine);

// The same for one model's head size and dtype; empty when the module can serve it there.
REGARD_API std::string why_unsupported(Module module, const Machine& machine,
                                       const ModelNeeds& needs);

// What users of all modules can ask for, in the words they share. Each module lowers it by its own
// conventions and refuses what it does not know.
struct AttentionOptions {
  bool is_causal = true;  // flex_attention: the default mask, which a mask program or a block mask
                          // replaces
  bool training = true;   // s2: false = dense attention, as such models are used once trained
  float scale = 0.0f;     // 0 = 1/sqrt(D)
  Window window{};
  Documents documents{};
  MaskTensor mask{};
  BiasTensor bias{};
  Alibi alibi{};
  Sink sink{};
  BlockMaskView block_mask{};
  float softcap = 0.0f;
  BoundProgram score_program{}, mask_program{};
  int64_t first_query = 0;  // position of query 0 for the programs, as in Problem
  Dropout dropout{};
  Quantization quantization{};  // sage: where `scores` is exact, its default is taken instead
  // s2: the row length S that is cut at S/4, S/2, 3S/4 (upper half of the heads: S/8, 3S/8, 5S/8,
  // 7S/8); a multiple of 4. Shorter rows keep the cuts of S. 0 = q.seq; documents need it.
  int64_t s2_row_length = 0;
};

// Lowers a module's call to a Problem: flash and sage align causal masks lower-right, all others
// upper-left. Throws Error(invalid_argument) for options that contradict each other or that the
// module does not know, with the module that does; Error(unsupported) for a head size beyond the
// module's limit.
REGARD_API Problem lower(Module module, const View& q, const View& k, const View& v,
                         const AttentionOptions& options);

}  // namespace regard
