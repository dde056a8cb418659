#include "simgpu/contents.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <numeric>
#include <vector>

#include "simgpu/address_space.h"

namespace oomtrace::simgpu {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

// Device memory for one test.
class Block {
 public:
  explicit Block(size_t bytes) : base_(AddressSpace::Get().Map(bytes, MemoryKind::kDevice, 0)), bytes_(bytes) {}
  ~Block() {
    Contents::Get().Drop(at(0), bytes_);
    AddressSpace::Get().Unmap(base_, MemoryKind::kDevice);
  }
  char* at(size_t offset) { return reinterpret_cast<char*>(base_ + offset); }

 private:
  uintptr_t base_;
  size_t bytes_;
};

std::vector<char> Pattern(size_t bytes, char first = 1) {
  std::vector<char> data(bytes);
  std::iota(data.begin(), data.end(), first);
  return data;
}

std::vector<char> Read(const char* device, size_t bytes) {
  std::vector<char> data(bytes, 'x');
  Contents::Get().Download(data.data(), device, bytes);
  return data;
}

size_t ResidentBytes() {
  long pages = 0;
  long resident = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  const int fields = std::fscanf(file, "%ld %ld", &pages, &resident);
  std::fclose(file);
  return fields == 2 ? static_cast<size_t>(resident) * static_cast<size_t>(sysconf(_SC_PAGESIZE)) : 0;
}

TEST(Contents, SmallCopiesCarryRealBytes) {
  Block block(4 * kMiB);
  const auto data = Pattern(kMiB);
  Contents::Get().Upload(block.at(100), data.data(), data.size());
  EXPECT_EQ(Read(block.at(100), data.size()), data);
  EXPECT_EQ(Read(block.at(0), 100), std::vector<char>(100, 0));
}

TEST(Contents, LargeUploadsReadAsZerosEvenOverOldBytes) {
  Block block(8 * kMiB);
  const auto data = Pattern(1000);
  Contents::Get().Upload(block.at(kMiB), data.data(), data.size());
  const auto large = Pattern(4 * kMiB);
  Contents::Get().Upload(block.at(0), large.data(), large.size());
  EXPECT_EQ(Read(block.at(0), large.size()), std::vector<char>(large.size(), 0));
}

TEST(Contents, LargeDownloadIsExact) {
  Block block(64 * kMiB);
  const auto data = Pattern(5000);
  Contents::Get().Upload(block.at(3 * kMiB + 7), data.data(), data.size());
  auto expected = std::vector<char>(64 * kMiB, 0);
  std::memcpy(&expected[3 * kMiB + 7], data.data(), data.size());
  EXPECT_EQ(Read(block.at(0), expected.size()), expected);
}

TEST(Contents, HugeDownloadTouchesNoPages) {
  constexpr size_t kHuge = size_t{4} << 30;
  Block block(kHuge);
  char* host = static_cast<char*>(
      mmap(nullptr, kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  ASSERT_NE(host, MAP_FAILED);
  const size_t before = ResidentBytes();
  host[12345] = 'x';
  Contents::Get().Download(host + 1, block.at(0), kHuge - 1);
  EXPECT_EQ(host[12345], 0);
  EXPECT_LT(ResidentBytes(), before + 16 * kMiB);
  munmap(host, kHuge);
}

TEST(ZeroHostMemory, SharedMemoryIsZeroedToo) {
  constexpr size_t kBytes = 32 * kMiB;
  char* host = static_cast<char*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(host, MAP_FAILED);
  std::memset(host, 'x', kBytes);
  ZeroHostMemory(host + 3, kBytes - 5);
  EXPECT_EQ(host[2], 'x');
  EXPECT_EQ(host[3], 0);
  EXPECT_EQ(host[kBytes / 2], 0);
  EXPECT_EQ(host[kBytes - 3], 0);
  EXPECT_EQ(host[kBytes - 2], 'x');
  munmap(host, kBytes);
}

TEST(ZeroHostMemory, PrivateMemoryKeepsItsNeighbours) {
  std::vector<char> host(40 * kMiB, 'x');
  ZeroHostMemory(&host[5], host.size() - 10);
  EXPECT_EQ(host[4], 'x');
  EXPECT_EQ(std::accumulate(host.begin() + 5, host.end() - 5, 0L), 0);
  EXPECT_EQ(host[host.size() - 5], 'x');
}

TEST(Contents, ForgottenBytesReadAsZerosAndNeighboursStay) {
  Block block(2 * kMiB);
  const auto data = Pattern(3000);
  Contents::Get().Upload(block.at(0), data.data(), data.size());
  Contents::Get().Forget(block.at(1000), 1000);
  auto expected = data;
  std::fill(expected.begin() + 1000, expected.begin() + 2000, 0);
  EXPECT_EQ(Read(block.at(0), 3000), expected);
  EXPECT_TRUE(Contents::Get().Written(block.at(0), 1000));
  EXPECT_FALSE(Contents::Get().Written(block.at(1000), 1000));
  EXPECT_TRUE(Contents::Get().Written(block.at(2000), 1000));
}

TEST(Contents, CopyOfUnwrittenMemoryErasesTheTarget) {
  Block block(4 * kMiB);
  const auto data = Pattern(512);
  Contents::Get().Upload(block.at(0), data.data(), data.size());
  Contents::Get().Copy(block.at(0), block.at(2 * kMiB), 512);
  EXPECT_EQ(Read(block.at(0), 512), std::vector<char>(512, 0));
}

TEST(Contents, CopyTakesWrittenPiecesAlongWhateverTheSize) {
  Block block(16 * kMiB);
  const auto data = Pattern(300);
  Contents::Get().Upload(block.at(5 * kMiB), data.data(), data.size());
  Contents::Get().Copy(block.at(8 * kMiB), block.at(0), 8 * kMiB);
  EXPECT_EQ(Read(block.at(13 * kMiB), 300), data);
}

TEST(Contents, OverlappingCopyMovesBytes) {
  Block block(2 * kMiB);
  const auto data = Pattern(100);
  Contents::Get().Upload(block.at(0), data.data(), data.size());
  Contents::Get().Copy(block.at(50), block.at(0), 100);
  EXPECT_EQ(Read(block.at(50), 100), data);
}

TEST(Contents, FillWritesSmallValuesAndForgetsZeros) {
  Block block(4 * kMiB);
  Contents::Get().Fill(block.at(0), 0xff, 1000);
  EXPECT_EQ(Read(block.at(0), 1000), std::vector<char>(1000, static_cast<char>(0xff)));
  Contents::Get().Fill(block.at(0), 0, 500);
  EXPECT_FALSE(Contents::Get().Written(block.at(0), 500));
  EXPECT_EQ(Read(block.at(0), 500), std::vector<char>(500, 0));
  Contents::Get().Fill(block.at(0), 0xff, 2 * kMiB);
  EXPECT_EQ(Read(block.at(0), 1000), std::vector<char>(1000, 0));
}

}  // namespace
}  // namespace oomtrace::simgpu
