// What a module's name means: its own conventions, written into one Problem.
#include <cmath>
#include <string>

#include "modules/known_options.h"
#include "modules/shifted_sparse.h"
#include "regard/error.h"
#include "regard/modules.h"

namespace regard {
namespace {

[[noreturn]] void refuse(const ModuleInfo& info, const std::string& reason) {
  throw Error(ErrorCode::invalid_argument, std::string(info.name) + ": " + reason);
}

// torch.nn.functional.scaled_dot_product_attention: attn_mask and is_causal exclude each other.
void check_sdpa(const ModuleInfo& info, const AttentionOptions& options) {
  if (options.is_causal && (options.mask.data != nullptr || options.bias.data != nullptr)) {
    refuse(info,
           "is_causal was given together with a mask or bias; put the causal part into the mask "
           "and set is_causal to false");
  }
}

// flash_attn_func: softcap excludes dropout.
void check_flash(const ModuleInfo& info, const AttentionOptions& options) {
  if (options.softcap > 0.0f && options.dropout.probability > 0.0f) {
    refuse(info, "softcap " + std::to_string(options.softcap) + " together with dropout " +
                     std::to_string(options.dropout.probability) + "; set one of them to 0");
  }
}

void check_head_sizes(const ModuleInfo& info, const View& q, const View& v) {
  const int64_t largest = q.dim > v.dim ? q.dim : v.dim;
  if (info.max_head_dim != 0 && largest > info.max_head_dim) {
    throw Error(ErrorCode::unsupported, "head_dim " + std::to_string(largest) + ": " +
                                            std::string(info.name) + " serves head sizes 1 to " +
                                            std::to_string(info.max_head_dim) + "; use sdpa");
  }
}

void check_options(const ModuleInfo& info, const AttentionOptions& options) {
  if (const std::string reason = lowering::unknown_option(info.module, options); !reason.empty()) {
    refuse(info, reason);
  }
  if (info.module == Module::sdpa) {
    check_sdpa(info, options);
  } else if (info.module == Module::flash_attention_2) {
    check_flash(info, options);
  }
}

Causal alignment_of(Module module) {
  switch (module) {
    case Module::flash_attention_2:  // since flash-attn 2.1
    case Module::flash_attention_3:
    case Module::sage:  // the package defines Sq == Sk only; decoding needs this one
    case Module::s2:
      return Causal::lower_right;
    default:
      return Causal::upper_left;
  }
}

// What `is_causal` leaves to say where a program or a block mask speaks for itself.
bool is_causal(Module module, const AttentionOptions& options) {
  const bool has_own_mask =
      options.mask_program.program != nullptr || options.block_mask.row_offsets != nullptr;
  return options.is_causal && !(module == Module::flex_attention && has_own_mask);
}

// SageAttention 2: one scale a group of a warp's rows, P and V in 16 bits.
Quantization quantization_of(Module module, const AttentionOptions& options) {
  if (module != Module::sage || options.quantization.scores != ScoreFormat::exact) {
    return options.quantization;
  }
  Quantization quantization = options.quantization;
  quantization.scores = ScoreFormat::int8;
  if (quantization.values == ValueFormat::exact) {
    quantization.values = ValueFormat::f16;
  }
  return quantization;
}

void copy_shared_options(const AttentionOptions& options, Problem& problem) {
  problem.scale = options.scale != 0.0f || problem.q.dim < 1
                      ? options.scale
                      : static_cast<float>(1.0 / std::sqrt(static_cast<double>(problem.q.dim)));
  problem.window = options.window;
  problem.documents = options.documents;
  problem.mask = options.mask;
  problem.bias = options.bias;
  problem.alibi = options.alibi;
  problem.sink = options.sink;
  problem.block_mask = options.block_mask;
  problem.softcap = options.softcap;
  problem.score_program = options.score_program;
  problem.mask_program = options.mask_program;
  problem.first_query = options.first_query;
  problem.dropout = options.dropout;
}

}  // namespace

Problem lower(Module module, const View& q, const View& k, const View& v,
              const AttentionOptions& options) {
  const ModuleInfo& info = module_info(module);
  check_head_sizes(info, q, v);
  check_options(info, options);
  Problem problem;
  problem.q = q;
  problem.k = k;
  problem.v = v;
  copy_shared_options(options, problem);
  problem.causal = is_causal(module, options) ? alignment_of(module) : Causal::none;
  problem.quantization = quantization_of(module, options);
  if (module == Module::s2) {
    problem.chunks = lowering::shifted_chunks(q, k, options);
  }
  return problem;
}

}  // namespace regard
