#include "interpose/hooks/iterator_kernels.h"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace oomtrace {
namespace {

constexpr size_t kPointer = 8;
constexpr size_t kDimensions = 25;        // MAX_DIMS
constexpr size_t kDivider = 12;           // IntDivider<uint32_t>
constexpr size_t kMostFunctorBytes = 99;  // beyond, the number of tensors is not told by the size

bool Has(const char* kernel, const char* part) { return strstr(kernel, part) != nullptr; }

size_t Aligned(size_t offset) { return (offset + kPointer - 1) / kPointer * kPointer; }

// OffsetCalculator<tensors>: the number of dimensions, their sizes, and for each a stride of each tensor.
size_t CalculatorBytes(size_t tensors) {
  return Aligned(sizeof(int) + kDimensions * kDivider + kDimensions * tensors * sizeof(uint32_t));
}

// How many tensors a structure of this size is for: a calculator, their addresses, the functor. 0: none.
size_t TensorsIn(size_t bytes) {
  for (size_t tensors = 8; tensors > 0; --tensors) {
    const size_t least = CalculatorBytes(tensors) + tensors * kPointer;
    if (bytes > least) return bytes - least <= kMostFunctorBytes ? tensors : 0;
  }
  return 0;
}

// Tensors of a functor of ATen's that has scalars of the host and nothing else; 0: it is not known for one.
size_t TensorsOfPlain(const char* kernel) {
  if (Has(kernel, "13BinaryFunctorI") || Has(kernel, "15CUDAFunctor_addI")) return 3;
  if (Has(kernel, "13AUnaryFunctorI") || Has(kernel, "13BUnaryFunctorI")) return 2;
  return Has(kernel, "21CUDAFunctorOnSelf_addI") ? 2 : 0;
}

bool HasPlainFunctor(const char* kernel) {
  constexpr const char* kScalars[] = {"launch_clamp_scalar", "addcmul_cuda_kernel", "addcdiv_cuda_kernel",
                                      "lerp_scalar_kernel",  "11FillFunctorI",      "compare_scalar_kernel",
                                      "pow_tensor_scalar"};
  return TensorsOfPlain(kernel) > 0 ||
         std::any_of(std::begin(kScalars), std::end(kScalars), [&](const char* part) { return Has(kernel, part); });
}

AddressPlaces Make(size_t structure, size_t begin, size_t end) {
  return {.first = static_cast<uint8_t>(structure),
          .structure = static_cast<uint8_t>(structure),
          .begin = static_cast<uint16_t>(begin),
          .end = static_cast<uint16_t>(end)};
}

// (count, functor, addresses, …)
AddressPlaces Contiguous(const char* kernel, uint16_t* bytes, size_t count) {
  if (count < 3 || bytes[2] == 0 || bytes[2] % kPointer != 0) return {};
  if (HasPlainFunctor(kernel)) bytes[1] = 0;
  return {.first = 2};
}

// (count, {calculator, addresses, functor})
AddressPlaces Strided(const char* kernel, const uint16_t* bytes, size_t count) {
  const size_t plain = TensorsOfPlain(kernel);
  const size_t tensors = count == 2 ? TensorsIn(bytes[1]) : 0;
  if (tensors == 0 || (plain != 0 && plain != tensors)) return {};
  const size_t begin = CalculatorBytes(tensors);
  return Make(1, begin, plain != 0 ? begin + tensors * kPointer : bytes[1]);
}

// ReduceOp ends with: the input, two outputs, two buffers, the semaphores, an index, two flags and a number.
AddressPlaces Reduction(const uint16_t* bytes, size_t count) {
  constexpr size_t kEnd = 6 * kPointer + 8 + 8;
  const bool known = count == 1 && bytes[0] % kPointer == 0 && bytes[0] > 2 * CalculatorBytes(1) + kEnd;
  return known ? Make(0, bytes[0] - kEnd, bytes[0] - 16) : AddressPlaces();
}

// TensorInfo<T, index>: an address, a size and a stride for each dimension, their number and a flag.
void CutTensorInfos(uint16_t* bytes, size_t count) {
  constexpr size_t kOfInt = kPointer + 2 * kDimensions * sizeof(int) + 8;
  constexpr size_t kOfLong = kPointer + 2 * kDimensions * sizeof(int64_t) + 8;
  for (size_t i = 0; i < count; ++i) {
    if (bytes[i] == kOfInt || bytes[i] == kOfLong) bytes[i] = kPointer;
  }
}

}  // namespace

AddressPlaces FindAddressPlaces(const char* kernel, uint16_t* bytes, size_t count) {
  if (kernel == nullptr || strncmp(kernel, "_ZN2at6native", strlen("_ZN2at6native")) != 0) return {};
  if (Has(kernel, "4cuda6detail10TensorInfoI")) CutTensorInfos(bytes, count);
  if (Has(kernel, "29vectorized_elementwise_kernelI") || Has(kernel, "27unrolled_elementwise_kernelI"))
    return Contiguous(kernel, bytes, count);
  if (Has(kernel, "18elementwise_kernelI") && Has(kernel, "gpu_kernel_impl")) return Strided(kernel, bytes, count);
  if (Has(kernel, "13reduce_kernelI")) return Reduction(bytes, count);
  // One calculator for the output, the input and the index; more addresses lie among what follows.
  const size_t calculator = Has(kernel, "_scatter_gather_elementwise_kernelI") || Has(kernel, "16gpu_index_kernelI")
                                ? CalculatorBytes(3)
                            : Has(kernel, "16flip_kernel_implI") ? CalculatorBytes(2)
                                                                 : 0;
  return calculator > 0 && count == 2 && bytes[1] > calculator ? Make(1, calculator, bytes[1]) : AddressPlaces();
}

}  // namespace oomtrace
