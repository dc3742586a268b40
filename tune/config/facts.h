// Facts: all that the rules of a configuration may ask, gathered once. A rule is a function of them
// and changes nothing.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "regard/modules.h"
#include "regard/program.h"
#include "tune/config/check.h"
#include "tune/config/config.h"
#include "tune/config/read_config.h"
#include "tune/files/model_config.h"

namespace tune {

// One place of the file that chooses an attention module.
struct ModuleChoice {
  regard::Module module = regard::Module::sdpa;
  std::string key;
  YamlMark mark;  // of the key
  bool by_name = false;

  // flash_attention, both versions, and s2 by name, which runs on flash and writes no other key.
  bool is_flash() const;
  std::string text() const;  // "flash_attention: true" or "attn_implementation: sage"
};

// A file or folder that an entry of datasets, test_datasets or flex_tensors names and that is not
// there.
struct MissingData {
  std::string key;  // "datasets[0].path", "flex_tensors.slopes"
  YamlMark mark;    // of the value
  std::string path;
};

struct Facts {
  const YamlNode& root;
  const CheckOptions& options;
  const ReadResult& read;          // what the file says
  std::vector<ValueFault> faults;  // rule 28: of values, duplicates and overrides
  Config config;                   // `read.config` with defaults resolved (resolve.h)

  std::vector<ModuleChoice> choices{};  // booleans that are true (s2_attention aside), then by name
  bool has_bad_attn_implementation = false;  // rule 3 applies

  std::optional<ModelConfig> model{};  // absent when it cannot be read
  std::string model_fault{};      // rule 32; empty when the model was read or was not asked for
  bool is_model_missing = false;  // it was not found at all

  std::vector<MissingData> missing_data{}, missing_tensors{};  // rule 33

  std::optional<regard::ParsedProgram> score_program{}, mask_program{};

  const regard::Machine& machine() const { return options.machine; }
  bool is_gpu() const { return machine().kind != regard::DeviceKind::cpu; }
  bool is_hopper() const { return machine().compute_capability == 90; }
  // The key is in the file (or an override) and not null.
  bool given(std::string_view key) const;
  bool readable(std::string_view key) const;  // no rule 28 about it
  YamlMark mark(std::string_view key) const;  // of the key; {0, 0} when it is not in the file

  const ModuleChoice* chosen(regard::Module module) const;
  const ModuleChoice* chosen_flash() const;
  // s2, by either spelling, and the key that says so.
  bool uses_s2() const;
  std::string s2_key() const;
};

// `faults` are those found before reading the values. Reads the model's configuration, no
// weights, and asks whether data files are there.
Facts gather_facts(const YamlNode& root, const ReadResult& read, std::vector<ValueFault> faults,
                   const CheckOptions& options);

// Why attn_implementation cannot be used (rule 3); empty when it can. Null and absent can.
std::string attn_implementation_fault(const YamlNode* node);

}  // namespace tune
