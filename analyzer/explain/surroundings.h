// What the lines around an error say of it: the traceback's own frames, what was running.
#pragma once

#include <string>
#include <string_view>

namespace oomtrace {

struct Surroundings {
  std::string frame;      // the innermost frame outside packages: train.py:88 in step
  std::string statement;  // its source line
  bool loading = false, backward = false, optimizer = false, evaluating = false, generating = false;
  std::string compiled_tensor;  // "(8, 1024, 50304) float32": what torch.compile's code asked for
  bool killed = false;          // the shell's "Killed", or exit status 137
};

Surroundings ReadSurroundings(std::string_view text);

}  // namespace oomtrace
