#include "interpose/hooks/iterator_kernels.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace oomtrace {
namespace {

struct Divider {
  unsigned divisor, m1, shift;
};
template <int kTensors>
struct Calculator {
  int dims;
  Divider sizes[25];
  unsigned strides[25][kTensors];
};
template <int kTensors>
struct Elementwise {  // what the lambda of gpu_kernel_impl_nocast captures
  Calculator<kTensors> calculator;
  std::array<char*, kTensors> data;
  alignas(16) float functor;
};

constexpr char kMul[] =
    "_ZN2at6native18elementwise_kernelILi128ELi2EZNS0_22gpu_kernel_impl_nocastINS0_13BinaryFunctorIfffNS0_15binary_"
    "internal10MulFunctorIfEEEEEEvRNS_18TensorIteratorBaseERKT_EUliE_EEviT1_";
constexpr char kWhere[] =
    "_ZN2at6native18elementwise_kernelILi128ELi2EZNS0_22gpu_kernel_impl_nocastIZZZNS0_49_GLOBAL__N__d2ba64fb_16_"
    "TensorCompare_cu_71e06f4e17where_kernel_implERNS_14TensorIteratorEENKUlvE_clEvEUlbffE_EEvRNS_18TensorIteratorBase"
    "ERKT_EUliE_EEviT1_";
constexpr char kClamp[] =
    "_ZN2at6native29vectorized_elementwise_kernelILi4EZZZNS0_49_GLOBAL__N__d2ba64fb_16_TensorCompare_cu_71e06f4e19"
    "launch_clamp_scalarERNS_18TensorIteratorBaseEEUlfE_St5arrayIPcLm2EEEEviT0_T1_";
constexpr char kUnscale[] =
    "_ZN2at6native29vectorized_elementwise_kernelILi4EZZZNS0_47_amp_non_finite_check_and_unscale_cuda_ERNS_6TensorES2_"
    "RKS1_EUlfE_St5arrayIPcLm2EEEEviT0_T1_";
constexpr char kSum[] = "_ZN2at6native13reduce_kernelILi512ELi1ENS0_8ReduceOpIfNS0_7MeanOpsIffffEEjfLi4ELi4EEEEEvT1_";
constexpr char kSort[] =
    "_ZN2at6native18radixSortKVInPlaceILi2ELin1ELi32ELi4EfljEEvNS_4cuda6detail10TensorInfoIT3_T5_EES6_S6_S6_";

AddressPlaces Find(const char* kernel, std::vector<uint16_t>* bytes) {
  return FindAddressPlaces(kernel, bytes->data(), bytes->size());
}

TEST(IteratorKernels, TheAddressesStandBehindTheCalculator) {
  std::vector<uint16_t> three = {4, sizeof(Elementwise<3>)};
  const AddressPlaces mul = Find(kMul, &three);
  EXPECT_EQ(mul.structure, 1);
  EXPECT_EQ(mul.begin, offsetof(Elementwise<3>, data));
  EXPECT_EQ(mul.end, mul.begin + 24) << "the functor has none";
  std::vector<uint16_t> four = {4, sizeof(Elementwise<4>)};
  const AddressPlaces where = Find(kWhere, &four);
  EXPECT_EQ(where.begin, offsetof(Elementwise<4>, data));
  EXPECT_EQ(where.end, sizeof(Elementwise<4>)) << "another functor may have addresses";
}

TEST(IteratorKernels, OfAPlainFunctorNoWordCounts) {
  std::vector<uint16_t> bytes = {4, 24, 16};
  EXPECT_EQ(Find(kClamp, &bytes).first, 2) << "the output's address comes first";
  EXPECT_EQ(bytes, (std::vector<uint16_t>{4, 0, 16}));
  bytes = {4, 16, 16};
  EXPECT_EQ(Find(kUnscale, &bytes).first, 2);
  EXPECT_EQ(bytes[1], 16) << "this one has the addresses of a scale and of a flag";
}

TEST(IteratorKernels, AReductionEndsWithItsAddresses) {
  struct Reduction {
    char operation_and_sizes[168];
    Calculator<2> input, output;
    const void* source;
    char* destination[2];
    void *buffer, *block_buffer;
    int* semaphores;
    int64_t base;
    bool accumulate, final_output;
    int outputs;
  };
  std::vector<uint16_t> bytes = {sizeof(Reduction)};
  const AddressPlaces places = Find(kSum, &bytes);
  EXPECT_EQ(places.begin, offsetof(Reduction, source));
  EXPECT_EQ(places.end, offsetof(Reduction, base));
}

TEST(IteratorKernels, ATensorOfAnyStridesHasOneAddress) {
  struct TensorInfo {
    float* data;
    unsigned sizes[25], strides[25];
    int dims;
    bool contiguous;
  };
  std::vector<uint16_t> bytes = {sizeof(TensorInfo), 4, 4, 4, sizeof(TensorInfo), 4, 1};
  Find(kSort, &bytes);
  EXPECT_EQ(bytes, (std::vector<uint16_t>{8, 4, 4, 4, 8, 4, 1}));
}

TEST(IteratorKernels, AnotherSizeOrNameIsNotTakenForThem) {
  std::vector<uint16_t> bytes = {4, 400};
  EXPECT_EQ(Find(kMul, &bytes).end, 0);
  bytes = {4, sizeof(Elementwise<4>)};
  EXPECT_EQ(Find(kMul, &bytes).end, 0) << "of two factors and a product there are three addresses";
  bytes = {4, sizeof(Elementwise<3>)};
  EXPECT_EQ(Find("_Z18elementwise_kernelI15gpu_kernel_impl", &bytes).end, 0);
  EXPECT_EQ(Find(nullptr, &bytes).end, 0);
  bytes = {600};
  EXPECT_EQ(Find(kSum, &bytes).end, 0);
}

}  // namespace
}  // namespace oomtrace
