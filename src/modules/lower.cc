// What a module's name means: its own conventions, written into one Problem.
#include <cmath>
#include <string>

#include "regard/error.h"
#include "regard/modules.h"

namespace regard {
namespace {

[[noreturn]] void refuse(const ModuleInfo& info, const std::string& reason) {
  throw Error(ErrorCode::invalid_argument, std::string(info.name) + ": " + reason);
}

bool has_mask_or_bias(const AttentionOptions& options) {
  return options.mask.data != nullptr || options.bias.data != nullptr;
}

// torch.nn.functional.scaled_dot_product_attention: attn_mask and is_causal exclude each other.
void check_sdpa(const ModuleInfo& info, const AttentionOptions& options) {
  if (options.is_causal && has_mask_or_bias(options)) {
    refuse(info,
           "is_causal was given together with a mask or bias; put the causal part into the mask "
           "and set "
           "is_causal to false");
  }
}

// flash_attn_func: no mask and no bias tensor exist there, and softcap excludes dropout.
void check_flash(const ModuleInfo& info, const AttentionOptions& options) {
  if (options.mask.data != nullptr) {
    refuse(info, "a boolean mask was given; it knows causal, window and documents only: use sdpa");
  }
  if (options.bias.data != nullptr) {
    refuse(info, "a bias tensor was given; it knows ALiBi slopes only: use sdpa");
  }
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

}  // namespace

Problem lower(Module module, const View& q, const View& k, const View& v,
              const AttentionOptions& options) {
  const ModuleInfo& info = module_info(module);
  if (!info.is_built) {
    throw Error(ErrorCode::unsupported,
                std::string(info.name) + " is not built yet; use sdpa, flash_attention_2 or eager");
  }
  check_head_sizes(info, q, v);
  Causal alignment = Causal::upper_left;
  if (module == Module::flash_attention_2) {
    check_flash(info, options);
    alignment = Causal::lower_right;  // since flash-attn 2.1
  } else if (module == Module::sdpa) {
    check_sdpa(info, options);
  }
  Problem problem;
  problem.q = q;
  problem.k = k;
  problem.v = v;
  problem.scale = options.scale != 0.0f || q.dim < 1
                      ? options.scale
                      : static_cast<float>(1.0 / std::sqrt(static_cast<double>(q.dim)));
  problem.causal = options.is_causal ? alignment : Causal::none;
  problem.window = options.window;
  problem.documents = options.documents;
  problem.mask = options.mask;
  problem.bias = options.bias;
  problem.alibi = options.alibi;
  problem.softcap = options.softcap;
  problem.dropout = options.dropout;
  return problem;
}

}  // namespace regard
