// write_case_programs NUMBER FILE: the text that takes the place of programs.cuh for the programs
// of an AttentionCase with that number.
#include <cstdlib>
#include <fstream>
#include <iostream>

#include "gpu/plan/emit_programs.h"
#include "tests/support/case_programs.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "write_case_programs NUMBER FILE\n";
    return 2;
  }
  const regard::testing::CasePrograms programs(std::atoi(argv[1]), 2, 1);
  regard::Problem problem;
  programs.put_into(problem);
  std::ofstream file(argv[2]);
  file << regard::gpu::emit_programs(problem);
  return file.flush() ? 0 : 1;
}
