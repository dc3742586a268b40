// Writes docs/keys.md: `write_key_reference FILE`. Part of the build, not of the program.
#include <cstdio>
#include <fstream>

#include "tune/config/check.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: write_key_reference FILE\n", stderr);
    return 2;
  }
  std::ofstream file(argv[1], std::ios::binary);
  file << tune::key_reference_markdown();
  file.close();
  if (file) return 0;
  std::fprintf(stderr, "%s cannot be written\n", argv[1]);
  return 1;
}
