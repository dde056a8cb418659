// How PyTorch's types travel through a call, the same in torch 2.0 to 2.15 (none of PyTorch's headers is
// included, so that one recorder serves them all).
#pragma once

#include <cstdint>

namespace oomtrace {

// A class type with a destructor is returned through a hidden pointer: so is at::TensorBase (one pointer) and
// std::vector<at::Tensor>. Never copied or destroyed here: only elided through.
struct ReturnedInMemory {
  ~ReturnedInMemory();
  void* opaque;
};

struct IntArrayRef {  // c10::ArrayRef<int64_t>: two registers
  const int64_t* data;
  uint64_t size;
};

struct Device {  // c10::Device
  int8_t type;
  int8_t index;
};
inline constexpr int8_t kCuda = 1;  // c10::DeviceType::CUDA, which ROCm builds use too

}  // namespace oomtrace
