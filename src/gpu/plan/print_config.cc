#include "gpu/plan/print_config.h"

namespace regard::gpu {
namespace {

const char* name_of(Element element) {
  return element == Element::f32 ? "f32" : element == Element::bf16 ? "bf16" : "f16";
}
const char* name_of(BiasFormat format) {
  constexpr const char* kNames[] = {"none", "f32", "f16", "bf16"};
  return kNames[static_cast<int>(format)];
}
const char* name_of(ValueRounding rounding) {
  constexpr const char* kNames[] = {"none", "f16", "e4m3"};
  return kNames[static_cast<int>(rounding)];
}
const char* name_of(MatrixProduct product) {
  return product == MatrixProduct::m16n8k8 ? "m16n8k8" : "m16n8k16";
}

// Visits the numbers and flags with their field's name and their short one.
template <typename Visit>
void for_each_number(const AttnConfig& config, const Visit& visit) {
  visit("head_dim", "d", config.head_dim);
  visit("value_dim", "v", config.value_dim);
  visit("block_q", "q", config.block_q);
  visit("block_k", "k", config.block_k);
  visit("num_warps", "w", config.num_warps);
  visit("num_stages", "s", config.num_stages);
  visit("min_blocks", "b", config.min_blocks);
  visit("fetch_bytes", "fetch", config.fetch_bytes);
  visit("slice_q", "slice", config.slice_q);
  visit("column_parts", "parts", config.column_parts);
}
template <typename Visit>
void for_each_flag(const AttnConfig& config, const Visit& visit) {
  visit("keeps_q", "keeps_q", config.keeps_q);
  visit("copies_async", "async", config.copies_async);
  visit("is_vectorised", "vectorised", config.is_vectorised);
  visit("loads_twos", "twos", config.loads_twos);
  visit("has_limits", "limits", config.has_limits);
  visit("folds_scale", "folds", config.folds_scale);
  visit("has_softcap", "softcap", config.has_softcap);
  visit("has_alibi", "alibi", config.has_alibi);
  visit("is_packed", "packed", config.is_packed);
  visit("has_lengths", "lengths", config.has_lengths);
  visit("has_chunks", "chunks", config.has_chunks);
  visit("has_mask", "mask", config.has_mask);
  visit("has_sink", "sink", config.has_sink);
  visit("has_dropout", "dropout", config.has_dropout);
  visit("has_block_mask", "blocks", config.has_block_mask);
  visit("has_score_program", "score_program", config.has_score_program);
  visit("has_mask_program", "mask_program", config.has_mask_program);
  visit("is_paged", "paged", config.is_paged);
  visit("is_deterministic", "deterministic", config.is_deterministic);
}

}  // namespace

std::string describe(const char* stem, const AttnConfig& config) {
  std::string text = std::string(stem) + "[" + name_of(config.element);
  for_each_number(config, [&](const char*, const char* short_name, int value) {
    text += std::string(" ") + short_name + std::to_string(value);
  });
  text += std::string(" ") + name_of(config.product);
  for_each_flag(config, [&](const char*, const char* short_name, bool value) {
    text += value ? std::string(" ") + short_name : "";
  });
  if (config.bias != BiasFormat::none) {
    text += std::string(" bias_") + name_of(config.bias);
  }
  if (config.values != ValueRounding::none) {
    text += std::string(" values_") + name_of(config.values);
  }
  return text + "]";
}

std::string literal(const AttnConfig& config) {
  std::string text = std::string("AttnConfig{.element = Element::") + name_of(config.element) +
                     ", .product = MatrixProduct::" + name_of(config.product) +
                     ", .bias = BiasFormat::" + name_of(config.bias) +
                     ", .values = ValueRounding::" + name_of(config.values);
  for_each_number(config, [&](const char* name, const char*, int value) {
    text += std::string(", .") + name + " = " + std::to_string(value);
  });
  for_each_flag(config, [&](const char* name, const char*, bool value) {
    text += std::string(", .") + name + " = " + (value ? "true" : "false");
  });
  return text + "}";
}

}  // namespace regard::gpu
