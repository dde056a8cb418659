#include "interpose/hooks/list_kernels.h"

#include <gtest/gtest.h>

#include <vector>

namespace oomtrace {
namespace {

constexpr char kAdd[] =
    "_ZN2at6native57_GLOBAL__N__e658eeb9_24_ForeachBinaryOpScalar_cu_25multi_tensor_apply_kernelINS1_"
    "18TensorListMetadataILi2EEENS1_21BinaryOpScalarFunctorIfLi2ELi1ELi1EEEJSt4plusIfEfEEEvT_T0_DpT1_";
constexpr char kAdam[] =
    "_ZN2at6native52_GLOBAL__N__c815dac0_19_fused_adamw_impl_cu_8_25multi_tensor_apply_kernelINS1_"
    "32FusedOptimizerTensorListMetadataILi4EEENS1_20FusedAdamMathFunctorIfLi4EEEEEvT_T0_";
constexpr char kScalars[] =
    "_ZN2at6native54_GLOBAL__N__f8a10d72_21_ForeachPointwiseOp_cu_25multi_tensor_apply_kernelINS1_"
    "28TensorListScalarListMetadataIfLi3EEENS1_30PointwiseOpScalarListFunctorIfLi3ELi3ELi0EEEEEvT_T0_";

TEST(ListKernels, TheLayoutsAreThoseOfPyTorch) {
  struct List2 {  // TensorListMetadata<2>
    const void* addresses[2][64];
    int64_t numel[64];
    unsigned char block_to_tensor[320];
    int block_to_chunk[320];
    int start;
  };
  const PointerLists add = ListsIn(kAdd, sizeof(List2));
  EXPECT_EQ(add.lists, 2);
  EXPECT_EQ(add.width, 64);
  EXPECT_EQ(add.users, offsetof(List2, block_to_tensor));
  struct Fused4 {
    const void* addresses[4][36];
    int64_t numel[36];
    const void* steps[36];
    unsigned char block_to_tensor[320];
    int block_to_chunk[320];
    int start;
  };
  const PointerLists adam = ListsIn(kAdam, sizeof(Fused4));
  EXPECT_EQ(adam.lists, 4);
  EXPECT_EQ(adam.more, offsetof(Fused4, steps));
  EXPECT_EQ(adam.users, offsetof(Fused4, block_to_tensor));
  struct Scalars3 {
    const void* addresses[3][48];
    int64_t numel[48];
    float scalars[48];
    unsigned char block_to_tensor[320];
    int block_to_chunk[320];
  };
  EXPECT_EQ(ListsIn(kScalars, sizeof(Scalars3)).users, offsetof(Scalars3, block_to_tensor));
}

TEST(ListKernels, AnotherSizeOrNameIsNotTakenForThem) {
  EXPECT_EQ(ListsIn(kAdd, 3000).lists, 0);
  EXPECT_EQ(ListsIn("some_kernel", 3144).lists, 0);
  EXPECT_EQ(ListsIn(nullptr, 3144).lists, 0);
}

TEST(ListKernels, TheBlocksOfThreadsTellHowManyTensorsThereAre) {
  const PointerLists add = ListsIn(kAdd, 3144);
  std::vector<char> parameter(3144, 99);
  for (int i = 0; i < 5; ++i) parameter[add.users + static_cast<size_t>(i)] = static_cast<char>(i / 2);
  EXPECT_EQ(UsedPointers(add, parameter.data(), 5, 1), 3u);
  EXPECT_EQ(UsedPointers(add, parameter.data(), 1, 1), 1u);
  EXPECT_EQ(UsedPointers(add, parameter.data(), 6, 1), 64u) << "never more than there is room for";
  const PointerLists cat =
      ListsIn("_ZN2at6native40_GLOBAL__N__0f1a8107_8_Shape_cu_49f7391c35CatArrayBatchedCopyI", 3000);
  EXPECT_EQ(UsedPointers(cat, parameter.data(), 100, 7), 7u);
}

}  // namespace
}  // namespace oomtrace
