// Kernels of PyTorch that take lists of tensors in a structure of fixed size by value: foreach operators, fused
// optimizers, concatenation. What lies behind the end of a list is left over from an earlier call: addresses that the
// kernel does not use, of tensors that were in another list.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomtrace {

struct PointerLists {
  uint8_t lists = 0;   // 0: the parameter is not known to hold lists
  uint8_t width = 0;   // room in each, in pointers
  uint16_t users = 0;  // offset of the table that says for each block of threads which tensor it works on; 0: as
                       // many tensors as the grid has rows
  uint16_t more = 0;   // offset of one more list of as many pointers, 0: none
};

// Of a parameter of `bytes` bytes of a kernel with this mangled name (nullptr: not known). The layouts are those of
// aten/src/ATen/native/cuda/MultiTensorApply.cuh and Shape.cu, torch 2.4 to 2.11; one of another size is not taken for
// them.
PointerLists ListsIn(const char* kernel, size_t bytes);

// How many pointers of each list of `parameter` a launch with this grid uses.
size_t UsedPointers(const PointerLists& lists, const void* parameter, uint32_t grid_x, uint32_t grid_y);

}  // namespace oomtrace
