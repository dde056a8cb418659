// What the text of an out-of-memory error says, by whom: logs, tracebacks, issue reports, whole or cut.
//
// Nothing is concluded here (judge.h). Reads any bytes, in time linear to their number.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "analyzer/explain/amount.h"

namespace oomtrace {

// Who wrote the message; each has sentences of its own (messages.cc).
enum class Speaker {
  kTorch,         // PyTorch's caching allocator, with figures: CUDA, HIP, XPU, MPS
  kTorchRetry,    // its warning about one failed cudaMalloc, from 2.13 on
  kTorchCorrupt,  // "more than 1EB memory"
  kRuntime,       // CUDA's or HIP's own error, without figures
  kLibrary,       // cuBLAS, cuDNN, NCCL, bitsandbytes …: an allocation beside PyTorch's allocator
  kDriver,        // a driver call: cuMemCreate and others, by their result
  kMaybe,         // an error that is often, not always, a lack of device memory
  kXla,           // JAX
  kTensorFlow,    // with a shape
  kCupy,          // CuPy's pool
  kRmm,           // RAPIDS
  kCuda,          // llama.cpp, Paddle, ONNX Runtime and others with figures of their own
  kServing,       // vLLM and SGLang: their budget, before anything is refused
  kHost,          // host memory: Python, PyTorch's CPU allocator, the kernel's OOM killer, a cgroup
  kSharedMemory,  // /dev/shm
  kKernel,        // a kernel's shared memory on the multiprocessor (Triton): not device memory
};

struct ProcessUse {
  int64_t pid = 0;
  std::optional<Amount> bytes;  // nothing: NVML could not tell
};

struct Message {
  Speaker speaker = Speaker::kRuntime;
  std::string who;    // "PyTorch (CUDA)", "cuBLAS"
  std::string quote;  // the sentence it was known by, at most 300 characters
  int64_t line = 0;   // of the text, from 1
  int64_t times = 1;  // how often the text has it

  std::optional<int> device;
  std::optional<Amount> wanted, total, free, allocated, unallocated, reserved, allowed, private_pools;
  std::optional<Amount> this_process;  // with what is not PyTorch's
  std::vector<ProcessUse> processes;   // those that the message names by number
  bool alloc_conf = false;             // it names PYTORCH_ALLOC_CONF (2.10 and newer)
  bool max_split_only = false;         // its advice is max_split_size_mb: before 2.2, where expandable segments are new
  std::string shape, dtype;            // of the tensor, where the message has them
  bool on_host = false;                // TensorFlow: the device is a CPU
};

// Different ones, in the text's order.
std::vector<Message> FindMessages(std::string_view text);

}  // namespace oomtrace
