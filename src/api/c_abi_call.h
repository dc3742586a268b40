// From the structs of regard/regard.h to the C++ interface.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "modules/checks.h"
#include "regard/modules.h"
#include "regard/problem.h"
#include "regard/program.h"
#include "regard/regard.h"

namespace regard::c_abi {

using checks::fail;

View view_of(const std::string& name, const regard_tensor& tensor);
LseView lse_of(const regard_lse& lse);
BiasGradient gradient_of(const regard_bias_gradient& gradient);

// A program compiled from its text, with the memory that it reads. What `bound` gives points into
// this object.
class CompiledProgram {
 public:
  CompiledProgram(ProgramKind kind, const regard_program& program);
  CompiledProgram(const CompiledProgram&) = delete;
  CompiledProgram& operator=(const CompiledProgram&) = delete;

  BoundProgram bound() const;

 private:
  std::optional<Program> program_;
  std::vector<ProgramTensor> tensors_;
};

// What a struct asks for: the module and the Problem it lowers to, which points into this object.
class Call {
 public:
  explicit Call(const regard_attention_args& args);

  Module module() const { return module_; }
  const Problem& problem() const { return problem_; }

 private:
  AttentionOptions options_of(const regard_attention_args& args) const;

  Module module_;
  CompiledProgram score_program_, mask_program_;
  Problem problem_;
};

}  // namespace regard::c_abi
