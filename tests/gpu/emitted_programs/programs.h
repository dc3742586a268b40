// The programs whose emitted text is tested: the same list when the texts are written and when
// they are run.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "regard/program.h"
#include "tests/program/random_program.h"

namespace regard::test {

inline std::vector<Program> emitted_programs() {
  std::vector<Program> programs;
  for (const char* text :
       {"score", "0.5", "score + row[h % 4] * (kv - q)", "20 * tanh(score / 20)",
        "q >= kv ? score : score - 2147483647", "log(q - kv)", "score / (h - q) + -2147483647 - 1",
        "table[floor(row[1] * 3), bucket[q] % (kv - q)] + abs(min(score, 0.0)) % 1.5",
        "pow(abs(score), 1.5) + rsqrt(2.0 + q) + score * (!(q == kv) && h < 2)"}) {
    programs.push_back(score_program(text, RandomTensors::infos()));
  }
  std::mt19937 random(7);
  while (programs.size() < 120) {
    RandomProgramOptions options;
    options.depth = 1 + static_cast<int>(programs.size() % 5);
    options.is_total = programs.size() % 3 != 0;
    ParsedProgram parsed =
        parse_program(random_program(random, options), ProgramKind::score, RandomTensors::infos());
    if (parsed.program) {
      programs.push_back(*std::move(parsed.program));
    }
  }
  return programs;
}

// A mask that sees what a score above zero is.
inline Program mask_of(size_t index) {
  return mask_program(index % 2 == 0 ? "bucket[min(q, 15)] % 3 != kv % 2 || row[h % 4] > 0.25"
                                     : "q - kv < 5 && !(doc[q] == 2 ? kv % 2 == 0 : q % 3 == 1)",
                      RandomTensors::infos());
}

}  // namespace regard::test
