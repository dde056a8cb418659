#include "simgpu/control_kernels.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string_view>
#include <vector>

#include "simgpu/address_space.h"
#include "simgpu/contents.h"

namespace oomtrace::simgpu {
namespace {

// Layouts of the kernels' parameters, from ATen/native/cuda/{Loops,MemoryAccess,Reduce}.cuh of torch 2.11.

template <int N>
struct Pointers {  // std::array<char*, N>: outputs first
  char* at[N];
};

struct CompareWithScalar {  // AUnaryFunctor<long, long, bool, CompareEqFunctor<long>>
  int operation;            // 0 equal, 1 not equal
  int64_t scalar;
};

template <int N>
struct Casts {  // LoadWithCast, StoreWithCast
  int8_t type[N];
  uint32_t bytes[N];
};

template <int N>
struct OffsetCalculator {
  static constexpr int kMaxDimensions = 25;
  int dimensions;
  uint32_t sizes[kMaxDimensions][3];
  uint32_t strides[kMaxDimensions][N];  // bytes
};

template <typename T>
struct Reduction {  // ReduceOp
  char operation;   // empty
  T identity;
  struct {
    int element_bytes, inputs, outputs, step_input, step_output, blocks_per_output;
    int input_multiplier[3], output_multiplier[2];
    int block_width, block_height, threads;
    bool vectorized;
    int output_vector;
  } configuration;
  OffsetCalculator<1> input;
  OffsetCalculator<2> output;
  char* source;
  char* destination[2];
};

bool IsSmall(int64_t elements) { return elements > 0 && elements <= kLargestControlTensor; }

// Elements of a contiguous device tensor; empty if it is none.
template <typename T>
std::vector<T> Read(const char* device, int64_t elements) {
  if (!AddressSpace::Get().IsDevice(device)) return {};
  std::vector<T> values(static_cast<size_t>(elements));
  Contents::Get().Download(values.data(), device, values.size() * sizeof(T));
  return values;
}

template <typename T>
void Write(char* device, const std::vector<T>& values) {
  if (AddressSpace::Get().IsDevice(device)) Contents::Get().Upload(device, values.data(), values.size() * sizeof(T));
}

// Reads 8-byte or 1-byte integers, whichever the operand holds.
std::vector<int64_t> ReadIntegers(const char* device, int64_t elements, uint32_t element_bytes) {
  if (element_bytes == sizeof(int64_t)) return Read<int64_t>(device, elements);
  const std::vector<uint8_t> bytes = Read<uint8_t>(device, elements);
  return {bytes.begin(), bytes.end()};
}

template <typename T>
void Fill(void** arguments) {
  const int elements = *static_cast<int*>(arguments[0]);
  if (!IsSmall(elements)) return;
  Write(static_cast<Pointers<1>*>(arguments[2])->at[0],
        std::vector<T>(static_cast<size_t>(elements), *static_cast<T*>(arguments[1])));
}

// Operands of one element type, contiguous: bool is one byte, 0 or 1.
template <typename T, T (*Combine)(T, T)>
void Binary(void** arguments) {
  const int elements = *static_cast<int*>(arguments[0]);
  if (!IsSmall(elements)) return;
  const auto& pointers = *static_cast<Pointers<3>*>(arguments[2]);
  std::vector<T> a = Read<T>(pointers.at[1], elements);
  const std::vector<T> b = Read<T>(pointers.at[2], elements);
  if (a.empty() || b.empty()) return;
  std::transform(a.begin(), a.end(), b.begin(), a.begin(), Combine);
  Write(pointers.at[0], a);
}

template <typename T>
T And(T a, T b) {
  return a & b;
}
template <typename T>
T Or(T a, T b) {
  return a | b;
}
template <typename T>
T Larger(T a, T b) {
  return std::max(a, b);
}

void Not(void** arguments) {
  const int elements = *static_cast<int*>(arguments[0]);
  if (!IsSmall(elements)) return;
  const auto& pointers = *static_cast<Pointers<2>*>(arguments[2]);
  std::vector<uint8_t> values = Read<uint8_t>(pointers.at[1], elements);
  if (values.empty()) return;
  for (uint8_t& value : values) value = !value;
  Write(pointers.at[0], values);
}

// int64 & bool, in either order.
void MixedAnd(void** arguments) {
  const int elements = *static_cast<int*>(arguments[0]);
  if (!IsSmall(elements)) return;
  const auto& pointers = *static_cast<Pointers<3>*>(arguments[2]);
  const auto& loads = *static_cast<Casts<2>*>(arguments[5]);
  const auto& stores = *static_cast<Casts<1>*>(arguments[6]);
  const auto plain = [](uint32_t bytes) { return bytes == 1 || bytes == sizeof(int64_t); };
  if (stores.bytes[0] != sizeof(int64_t) || !plain(loads.bytes[0]) || !plain(loads.bytes[1])) return;
  std::vector<int64_t> a = ReadIntegers(pointers.at[1], elements, loads.bytes[0]);
  const std::vector<int64_t> b = ReadIntegers(pointers.at[2], elements, loads.bytes[1]);
  if (a.empty() || b.empty()) return;
  std::transform(a.begin(), a.end(), b.begin(), a.begin(), And<int64_t>);
  Write(pointers.at[0], a);
}

void EqualsScalar(void** arguments) {
  const int elements = *static_cast<int*>(arguments[0]);
  if (!IsSmall(elements)) return;
  const auto& functor = *static_cast<CompareWithScalar*>(arguments[1]);
  const auto& pointers = *static_cast<Pointers<2>*>(arguments[2]);
  const std::vector<int64_t> values = Read<int64_t>(pointers.at[1], elements);
  if (values.empty()) return;
  std::vector<uint8_t> result;
  for (const int64_t value : values) result.push_back((value == functor.scalar) == (functor.operation == 0));
  Write(pointers.at[0], result);
}

// All elements of a tensor to one.
template <typename T, T (*Combine)(T, T)>
void Reduce(void** arguments) {
  const auto& reduction = *static_cast<Reduction<T>*>(arguments[0]);
  const auto& configuration = reduction.configuration;
  const OffsetCalculator<1>& input = reduction.input;
  if (configuration.element_bytes != sizeof(T) || configuration.outputs != 1 || !IsSmall(configuration.inputs)) return;
  if (input.dimensions != 1 || input.sizes[0][0] != static_cast<uint32_t>(configuration.inputs)) {
    if (configuration.inputs != 1) return;
  } else if (input.strides[0][0] != sizeof(T)) {
    return;
  }
  const std::vector<T> values = Read<T>(reduction.source, configuration.inputs);
  if (values.empty()) return;
  T result = values[0];
  for (const T value : values) result = Combine(result, value);
  Write(reduction.destination[0], std::vector<T>{result});
}

struct Recognized {
  std::string_view begin;  // after "_ZN2at6native"
  std::string_view functor;
  ControlKernel kernel;
};

constexpr std::string_view kNamespace = "_ZN2at6native";
constexpr std::string_view kVectorized = "29vectorized_elementwise_kernelI";
constexpr std::string_view kUnrolled = "27unrolled_elementwise_kernelI";
constexpr std::string_view kReduce = "13reduce_kernelI";

// b, l: bool and int64 in the mangled name.
constexpr Recognized kRecognized[] = {
    {kVectorized, "NS0_11FillFunctorIbEESt5array", Fill<uint8_t>},
    {kVectorized, "NS0_11FillFunctorIlEESt5array", Fill<int64_t>},
    {kVectorized, "NS0_13BinaryFunctorIbbbNS0_16BitwiseOrFunctorIbEEEESt5array", Binary<uint8_t, Or<uint8_t>>},
    {kVectorized, "NS0_13BinaryFunctorIbbbNS0_17BitwiseAndFunctorIbEEEESt5array", Binary<uint8_t, And<uint8_t>>},
    {kVectorized, "NS0_13BinaryFunctorIlllNS0_17BitwiseAndFunctorIlEEEESt5array", Binary<int64_t, And<int64_t>>},
    {kVectorized, "ZNS0_23bitwise_not_kernel_cudaERNS_18TensorIteratorBaseEEUlbE_St5array", Not},
    {kVectorized, "CompareEqFunctorIlEEEESt5array", EqualsScalar},
    {kUnrolled, "NS0_13BinaryFunctorIlllNS0_17BitwiseAndFunctorIlEEEESt5arrayIPcLm3EELi4E23TrivialOffsetCalculator",
     MixedAnd},
    {kReduce, "NS0_8ReduceOpIbNS0_14func_wrapper_tIbZZZNS0_14or_kernel_cuda", Reduce<uint8_t, Or<uint8_t>>},
    {kReduce, "NS0_8ReduceOpIbNS0_14func_wrapper_tIbZZZNS0_15and_kernel_cuda", Reduce<uint8_t, And<uint8_t>>},
    {kReduce, "NS0_8ReduceOpIlNS0_14func_wrapper_tIlNS0_13MaxNanFunctorIlEEEEjlLi4E", Reduce<int64_t, Larger<int64_t>>},
};

}  // namespace

ControlKernel FindControlKernel(const char* name) {
  const std::string_view text(name);
  if (!text.starts_with(kNamespace)) return nullptr;
  const std::string_view rest = text.substr(kNamespace.size());
  for (const Recognized& known : kRecognized) {
    if (!rest.starts_with(known.begin) || rest.find(known.functor) == std::string_view::npos) continue;
    // Comparisons of two tensors share the functor's name with those against a scalar.
    const bool needs_scalar = known.kernel == ControlKernel{EqualsScalar};
    if (needs_scalar && rest.find("13AUnaryFunctorIllb") == std::string_view::npos) continue;
    return known.kernel;
  }
  return nullptr;
}

}  // namespace oomtrace::simgpu
