// The in-process Python part: python_part.py, run inside the application's interpreter by a pending call, which the
// main thread makes between two bytecodes. It installs its hooks once PyTorch is imported, and says what only Python
// knows: names, owners, phases. In a program without PyTorch plain_part.py alone runs, which makes stacks possible.
#pragma once

#include <cstdint>

namespace oomtrace {

enum class PythonTask : uint32_t {
  kInstall = 1,      // self-test of the stack walk, hooks into nn.Module and optimizers
  kBegin = 2,        // a recording has begun: versions, devices, the processes on them
  kOutOfMemory = 4,  // owners and holders, once the exception has left the allocator
  kPrepare = 8,      // kInstall as `import torch` goes on: PreparePythonPart
  kDeviceCall = 16,  // device memory was asked for: kBegin where PyTorch is imported, else the plain part
};

// Asks for it, from any thread, under any lock but the dynamic linker's: takes neither the GIL nor memory. Repeated
// where PyTorch was not fully imported yet. Does nothing where there is no interpreter.
void RequestPythonPart(PythonTask task);

// While PyTorch is being imported, by any thread: the self-test runs at once, and the hooks are installed as soon as
// their modules are imported. For a place where this thread holds the GIL and PyTorch no lock.
void PreparePythonPart();

// Where a thread other than the main one trains, the main thread may sit in join() and make no pending calls: runs here
// what was asked for. Takes the GIL, so only for places where PyTorch itself is about to take it and holds no lock.
void RunPythonPartOffMainThread();

}  // namespace oomtrace
