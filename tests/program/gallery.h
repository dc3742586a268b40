// Programs that users of flex_attention write, and what each of them means.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "tests/program/flex_case.h"

namespace regard::test {

// Tensors that programs capture, and their memory.
struct Captured {
  std::vector<std::vector<float>> reals;
  std::vector<std::vector<int32_t>> integers;
  std::vector<ProgramTensor> score, mask;
};

struct Example {
  explicit Example(std::string title) : name(std::move(title)) {}

  std::string name;
  FlexShape shape;
  std::optional<Program> score, mask;
  std::shared_ptr<Captured> captured = std::make_shared<Captured>();
  DenseMeaning meaning;
  // Which element of d_tensors[0] a pair's bias is, times which factor; -1 for none.
  std::function<std::pair<int64_t, double>(int64_t h, int64_t q, int64_t kv)> element;

  BoundProgram bound_score() const { return bound(score, captured->score); }
  BoundProgram bound_mask() const { return bound(mask, captured->mask); }

 private:
  static BoundProgram bound(const std::optional<Program>& program,
                            const std::vector<ProgramTensor>& tensors) {
    return program ? BoundProgram{&*program, tensors.data(), static_cast<int32_t>(tensors.size())}
                   : BoundProgram{};
  }
};

// What GoogleTest shows of an example.
inline void PrintTo(const Example& example, std::ostream* out) { *out << example.name; }

std::vector<Example> gallery();

}  // namespace regard::test
