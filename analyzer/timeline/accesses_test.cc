#include "analyzer/timeline/accesses.h"

#include <gtest/gtest.h>

#include <utility>

namespace oomtrace {
namespace {

constexpr char kGemm[] = "ampere_sgemm_128x64_nn";
constexpr char kElementwise[] = "_ZN2at6native29vectorized_elementwise_kernelILi4ENS0_15CUDAFunctor_addIfEE";
constexpr int64_t kBytes = 4096;

class AccessesTest : public ::testing::Test {
 protected:
  AccessesTest() : tensors_(8), accesses_(tensors_) {
    for (Tensor& tensor : tensors_) {
      tensor.bytes = kBytes;
      tensor.born = 10;
    }
  }

  void Add(LaunchedWork work, const std::vector<int64_t>& tensors) {
    std::vector<LaunchAddress> addresses;
    for (const int64_t tensor : tensors) addresses.push_back({tensor, true});
    work.time = ++time_;
    work.addresses = &addresses;
    accesses_.Add(work, /*window=*/0);
  }
  void Kernel(const char* name, const std::vector<int64_t>& tensors, bool again = false) {
    Add({.again = again, .kind = WorkKind::kKernel, .name = name}, tensors);
  }
  void Copy(int64_t to, int64_t from, int64_t bytes = kBytes) {
    Add({.written = 1, .kind = WorkKind::kCopy, .bytes = bytes}, {to, from});
  }
  void Fill(int64_t tensor) { Add({.written = 1, .kind = WorkKind::kFill}, {tensor}); }

  std::vector<Tensor> tensors_;
  Accesses accesses_;
  int64_t time_ = 100;
};

TEST(PointsTo, ANumberBesideTheRemainsOfAnAddressIsNone) {
  constexpr uint64_t kBlock = 0x7f943de00000;
  EXPECT_EQ(PointsTo(0x7f943f800000, 3, kBlock).tensor, -1) << "1.0f below the upper half of an address";
  EXPECT_EQ(PointsTo(0x7f943f800004, 3, kBlock).tensor, 3);
  EXPECT_TRUE(PointsTo(kBlock, 3, kBlock).start);
  EXPECT_EQ(PointsTo(0x7f943f800000, 3, 0x7f943f800000).tensor, 3) << "where a block begins there";
}

TEST_F(AccessesTest, WhatFillsATensorDoesNotReadIt) {
  Fill(0);
  Kernel(kElementwise, {1});
  Kernel("curand", {2});
  Add({.written = 1, .kind = WorkKind::kCopy, .bytes = kBytes}, {3});  // from the host
  for (const auto& [tensor, access] : accesses_.Take()) {
    EXPECT_EQ(access.reads, 0) << tensor;
    EXPECT_EQ(access.needed, kNever) << tensor;
    EXPECT_EQ(access.uses, 1) << tensor;
  }
}

TEST_F(AccessesTest, AnElementwiseKernelsOutputComesFirst) {
  Fill(0);
  Fill(1);
  Kernel(kElementwise, {0, 1});                  // 0 is overwritten
  Kernel(kElementwise, {0, 1}, /*again=*/true);  // 0 += 1
  const auto found = accesses_.Take();
  EXPECT_EQ(found.at(0).reads, 1);
  EXPECT_EQ(found.at(0).needed, 103) << "it holds what came from another tensor";
  EXPECT_EQ(found.at(0).changed, 104);
  EXPECT_EQ(found.at(1).reads, 2);
  EXPECT_EQ(found.at(1).changed, 102) << "its filling";
}

TEST_F(AccessesTest, OtherKernelsWriteFreshTensorsAndMayChangeWhereTheyHaveNone) {
  Fill(0);
  Fill(1);
  Kernel(kGemm, {0, 1, 2});
  Kernel("multi_tensor_apply", {0, 1});
  const auto found = accesses_.Take();
  EXPECT_EQ(found.at(2).reads, 0);
  EXPECT_EQ(found.at(0).reads, 2);
  EXPECT_EQ(found.at(0).changed, 104) << "not by the product, which had somewhere to write";
}

TEST_F(AccessesTest, NormalizationAlsoChangesItsStatistics) {
  Fill(0);
  Kernel("_ZN2at6native40batch_norm_collect_statistics", {0, 1});
  EXPECT_EQ(accesses_.Take().at(0).changed, 102);
}

TEST_F(AccessesTest, WhatWasBornBeforeTheWindowMayHaveBeenFilledBefore) {
  tensors_[0].born = -1;
  Kernel(kGemm, {0, 1});
  EXPECT_EQ(accesses_.Take().at(0).reads, 1);
}

TEST_F(AccessesTest, OnlyACopyOfAllBytesIsACopyOfTheTensor) {
  Fill(0);
  Copy(1, 0);
  Copy(2, 0, kBytes / 2);
  tensors_[3].bytes = 2 * kBytes;
  Copy(3, 0);
  Copy(4, 0, kBytes - 8);  // its block is rounded up
  const auto found = accesses_.Take();
  EXPECT_EQ(found.at(1).copy_of, 0);
  EXPECT_EQ(found.at(2).copy_of, -1);
  EXPECT_EQ(found.at(3).copy_of, -1);
  EXPECT_EQ(found.at(4).copy_of, 0);
  EXPECT_EQ(found.at(0).reads, 4);
  EXPECT_EQ(found.at(0).changed, 101);
}

TEST_F(AccessesTest, KernelsThatFollowPointersAreKnownByName) {
  EXPECT_TRUE(FollowsPointers("_Z31ncclDevKernel_AllReduce_Sum_f3224ncclDevKernelArgsStorage"));
  EXPECT_FALSE(FollowsPointers(kGemm));
}

}  // namespace
}  // namespace oomtrace
