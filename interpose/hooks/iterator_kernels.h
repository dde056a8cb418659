// Kernels of PyTorch that take structures by value which are only partly filled: TensorIterator's elementwise kernels
// and reductions, indexing, and kernels over tensors of any strides. What is not filled is left over from an earlier
// call: addresses, or halves of them, that the kernel does not use. Here stands where the addresses are that it does.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomtrace {

// Of one function, as far as its name and the sizes of its parameters tell.
struct AddressPlaces {
  uint8_t first = 0;      // parameter with the output's address: it is looked through before the others
  uint8_t structure = 0;  // parameter that `begin` and `end` are of
  uint16_t begin = 0;     // bytes of it that hold addresses; the first of them always is one
  uint16_t end = 0;       // 0: nothing is known of any structure
};

// `bytes`: of each parameter, as the driver tells; of those that hold addresses in their first bytes alone, or none at
// all, what is beyond them is taken off. `kernel`: mangled. The layouts are those of
// aten/src/ATen/native/cuda/{CUDALoops,Reduce,IndexKernel}.cuh, OffsetCalculator.cuh and cuda/detail/TensorInfo.cuh,
// torch 2.4 to 2.11; one of another size is not taken for them.
AddressPlaces FindAddressPlaces(const char* kernel, uint16_t* bytes, size_t count);

}  // namespace oomtrace
