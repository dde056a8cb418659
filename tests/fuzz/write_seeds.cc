// oomtrace_fuzz_seeds DIRECTORY: writes the seeds there, for libFuzzer to begin with.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tests/fuzz/seeds.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
    return 1;
  }
  std::filesystem::create_directories(argv[1]);
  int number = 0;
  for (const std::string& seed : oomtrace::fuzz::Seeds()) {
    const std::filesystem::path path = std::filesystem::path(argv[1]) / ("seed-" + std::to_string(number++));
    std::ofstream(path, std::ios::binary) << seed;
  }
  return 0;
}
