#include "modules/known_options.h"

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace regard::lowering {
namespace {

constexpr uint32_t bit(Module module) { return uint32_t{1} << static_cast<int>(module); }

constexpr uint32_t set_of(std::initializer_list<Module> modules) {
  uint32_t bits = 0;
  for (const Module module : modules) {
    bits |= bit(module);
  }
  return bits;
}

struct KnownOption {
  std::string_view name;
  bool (*is_used)(const AttentionOptions&);
  uint32_t modules;  // that know it
  std::string_view remedy;
};

constexpr std::array kOptions = {
    KnownOption{"a boolean mask", [](const AttentionOptions& o) { return o.mask.data != nullptr; },
                set_of({Module::sdpa, Module::eager}), "use sdpa"},
    KnownOption{"a bias tensor", [](const AttentionOptions& o) { return o.bias.data != nullptr; },
                set_of({Module::sdpa, Module::xformers, Module::eager}), "use sdpa or xformers"},
    KnownOption{"ALiBi slopes", [](const AttentionOptions& o) { return o.alibi.slopes != nullptr; },
                set_of({Module::sdpa, Module::flash_attention_2, Module::eager}),
                "use flash_attention_2 or sdpa"},
    KnownOption{"a softcap", [](const AttentionOptions& o) { return o.softcap != 0.0f; },
                set_of({Module::sdpa, Module::flash_attention_2, Module::flash_attention_3,
                        Module::flex_attention, Module::eager}),
                "use flash_attention_2 or sdpa"},
    KnownOption{"a sink", [](const AttentionOptions& o) { return o.sink.logits != nullptr; },
                set_of({Module::sdpa, Module::flash_attention_2, Module::flash_attention_3,
                        Module::flex_attention, Module::eager}),
                "use flash_attention_2 or sdpa"},
    KnownOption{"dropout", [](const AttentionOptions& o) { return o.dropout.probability != 0.0f; },
                set_of({Module::sdpa, Module::flash_attention_2, Module::xformers, Module::s2,
                        Module::eager}),
                "set it to 0, or use flash_attention_2 or sdpa"},
    KnownOption{"a block mask",
                [](const AttentionOptions& o) { return o.block_mask.row_offsets != nullptr; },
                set_of({Module::flex_attention, Module::eager}), "use flex_attention"},
    KnownOption{"a score program",
                [](const AttentionOptions& o) { return o.score_program.program != nullptr; },
                set_of({Module::flex_attention}), "use flex_attention"},
    KnownOption{"a mask program",
                [](const AttentionOptions& o) { return o.mask_program.program != nullptr; },
                set_of({Module::flex_attention}), "use flex_attention"},
    KnownOption{"a quantization",
                [](const AttentionOptions& o) {
                  return o.quantization.scores != ScoreFormat::exact ||
                         o.quantization.values != ValueFormat::exact;
                },
                set_of({Module::sage}), "use sage"},
    KnownOption{"a row length for s2",
                [](const AttentionOptions& o) { return o.s2_row_length != 0; },
                set_of({Module::s2}), "set s2_row_length to 0, or use s2"},
    KnownOption{"a window",
                [](const AttentionOptions& o) { return o.window.left >= 0 || o.window.right >= 0; },
                ~bit(Module::s2), "use flash_attention_2"},
};

}  // namespace

std::string unknown_option(Module module, const AttentionOptions& options) {
  for (const KnownOption& option : kOptions) {
    if (option.is_used(options) && (option.modules & bit(module)) == 0) {
      return std::string(option.name) +
             " was given, which it does not know: " + std::string(option.remedy);
    }
  }
  return "";
}

}  // namespace regard::lowering
