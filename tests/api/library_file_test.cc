// What the library file exports and needs, asked of binutils.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <memory>
#include <sstream>
#include <string>

namespace {

// Output of a command; empty when it could not run.
std::string output_of(const std::string& command) {
  const auto close = [](FILE* file) { pclose(file); };
  const std::unique_ptr<FILE, decltype(close)> pipe(popen(command.c_str(), "r"), close);
  std::string output;
  std::array<char, 4096> buffer;
  while (pipe != nullptr && fgets(buffer.data(), buffer.size(), pipe.get()) != nullptr) {
    output += buffer.data();
  }
  return output;
}

const std::string kLibrary = REGARD_LIBRARY_FILE;

TEST(LibraryFile, NeededLibraries_AreTheRuntimeOnly) {
  const std::string dynamic = output_of("readelf --dynamic --wide '" + kLibrary + "' 2>/dev/null");
  if (dynamic.empty()) {
    GTEST_SKIP() << "readelf (Debian: binutils) is not installed";
  }
  std::istringstream lines(dynamic);
  for (std::string line; std::getline(lines, line);) {
    if (line.find("(NEEDED)") == std::string::npos) {
      continue;
    }
    for (const char* foreign : {"torch", "c10", "cuda", "nvrtc", "hip", "openblas"}) {
      EXPECT_EQ(line.find(foreign), std::string::npos) << line;
    }
  }
}

TEST(LibraryFile, DynamicSymbols_AreRegardsOwnAndNoTorch) {
  const std::string symbols = output_of("nm --dynamic --demangle '" + kLibrary + "' 2>/dev/null");
  if (symbols.empty()) {
    GTEST_SKIP() << "nm (Debian: binutils) is not installed";
  }
  EXPECT_NE(symbols.find("regard_attention_forward"), std::string::npos);
  EXPECT_NE(symbols.find("regard::attention_forward("), std::string::npos);
  const std::string mangled = output_of("nm --dynamic '" + kLibrary + "'");
  for (const char* torch : {"_ZN2at", "_ZN3c10", "N5torch"}) {
    EXPECT_EQ(mangled.find(torch), std::string::npos) << torch;
  }
  // The inside stays inside.
  for (const char* hidden : {"regard::cpu::", "regard::reference::", "regard::api::"}) {
    EXPECT_EQ(symbols.find(hidden), std::string::npos) << hidden;
  }
}

}  // namespace
