// write_programs FOLDER: the texts of emitted_programs() as FOLDER/program_<i>.cuh, and
// FOLDER/all_programs.inc, which includes each under names of its own and lists them.
#include <fstream>
#include <iostream>
#include <string>

#include "gpu/plan/emit_programs.h"
#include "tests/gpu/emitted_programs/programs.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "write_programs FOLDER\n";
    return 2;
  }
  const std::string folder = argv[1];
  std::ofstream all(folder + "/all_programs.inc");
  std::string list;
  const std::vector<regard::Program> programs = regard::test::emitted_programs();
  for (size_t i = 0; i < programs.size(); ++i) {
    const std::string number = std::to_string(i);
    const regard::Program mask = regard::test::mask_of(i);
    regard::Problem problem;
    problem.score_program.program = &programs[i];
    problem.mask_program.program = &mask;
    // Without its first line, #pragma once: programs that are alike must all be there.
    const std::string text = regard::gpu::emit_programs(problem);
    std::ofstream(folder + "/program_" + number + ".cuh") << text.substr(text.find('\n'));
    for (const char* name : {"score_program", "score_program_reads", "mask_program"}) {
      all << "#undef " << name << "\n#define " << name << " " << name << "_" << number << "\n";
    }
    all << "#include \"program_" << number << ".cuh\"\n";
    list += "{score_program_" + number + ", mask_program_" + number + ", score_program_reads_" +
            number + "<AddRead>},\n";
  }
  all << "#undef score_program\n#undef score_program_reads\n#undef mask_program\n";
  std::ofstream(folder + "/program_list.inc") << list;
  return all.flush() ? 0 : 1;
}
