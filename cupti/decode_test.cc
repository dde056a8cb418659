#include "cupti/decode.h"

#include <cupti.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace oomtrace::cupti {
namespace {

// The first `bytes` of a record, as an older library writes it, with nothing readable behind.
template <typename Record>
Decoded DecodePrefix(const Record& record, size_t bytes, uint32_t version) {
  std::vector<uint64_t> buffer(64, 0xabababababababab);
  std::memcpy(buffer.data(), &record, bytes);
  return Decode(buffer.data(), version);
}

TEST(Decode, AKernelOfEachVersion) {
  CUpti_ActivityKernel10 record = {};
  record.kind = CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL;
  record.start = 1000;
  record.end = 1500;
  record.correlationId = 7;
  record.deviceId = 1;
  record.streamId = 13;
  record.name = "gemm";
  record.graphId = 3;
  record.localMemoryTotal_v2 = 1 << 20;
  for (const size_t bytes : {208, 216}) {
    const Decoded decoded = DecodePrefix(record, bytes, kOldestVersion);
    ASSERT_EQ(decoded.what, Decoded::What::kActivity);
    EXPECT_FALSE(decoded.untimed);
    EXPECT_EQ(decoded.activity.kind, ActivityKind::kKernel);
    EXPECT_EQ(decoded.activity.end - decoded.activity.start, 500u);
    EXPECT_EQ(decoded.activity.correlation, 7u);
    EXPECT_EQ(decoded.activity.device, 1u);
    EXPECT_EQ(decoded.activity.stream, 13u);
    EXPECT_STREQ(decoded.activity.name, "gemm");
    EXPECT_EQ(decoded.activity.graph, 3u);
    EXPECT_EQ(decoded.activity.local_memory, 1u << 20);
  }
}

TEST(Decode, AKernelWithoutTimesIsUntimed) {
  CUpti_ActivityKernel10 record = {};
  record.kind = CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL;
  EXPECT_TRUE(Decode(&record, kOldestVersion).untimed);
}

TEST(Decode, TheSourceOfMemoryOnlyWhereTheVersionHasIt) {
  CUpti_ActivityMemory4 record = {};
  record.kind = CUPTI_ACTIVITY_KIND_MEMORY2;
  record.memoryOperationType = CUPTI_ACTIVITY_MEMORY_OPERATION_TYPE_ALLOCATION;
  record.memoryKind = CUPTI_ACTIVITY_MEMORY_KIND_DEVICE;
  record.address = 0x7f0000000000;
  record.bytes = 2 << 20;
  record.source = "libnccl.so.2";
  const Decoded old = DecodePrefix(record, 120, kSourceSince - 1);
  ASSERT_EQ(old.what, Decoded::What::kMemory);
  EXPECT_EQ(old.memory.source, nullptr);
  EXPECT_EQ(old.memory.bytes, 2u << 20);
  EXPECT_FALSE(old.memory.release);
  EXPECT_STREQ(DecodePrefix(record, 128, kSourceSince).memory.source, "libnccl.so.2");
}

TEST(Decode, OnlyOurOwnCorrelations) {
  CUpti_ActivityExternalCorrelation record = {};
  record.kind = CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION;
  record.externalId = 42;
  record.correlationId = 9;
  record.externalKind = CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0;  // Kineto's
  EXPECT_EQ(Decode(&record, kOldestVersion).what, Decoded::What::kNothing);
  record.externalKind = CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM2;
  const Decoded decoded = Decode(&record, kOldestVersion);
  ASSERT_EQ(decoded.what, Decoded::What::kCorrelation);
  EXPECT_EQ(decoded.launch, 42u);
  EXPECT_EQ(decoded.correlation, 9u);
}

TEST(Decode, KindsThatNobodyAskedForAreNothing) {
  CUpti_ActivityAPI record = {};
  record.kind = CUPTI_ACTIVITY_KIND_RUNTIME;
  EXPECT_EQ(Decode(&record, kOldestVersion).what, Decoded::What::kNothing);
}

}  // namespace
}  // namespace oomtrace::cupti
