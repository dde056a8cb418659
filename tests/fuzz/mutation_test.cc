// A second of random damage, from a fixed seed: what fails once fails again.
#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "analyzer/read/file_header.h"
#include "tests/fuzz/consume.h"
#include "tests/fuzz/seeds.h"

namespace oomtrace::fuzz {
namespace {

constexpr size_t kInUse = 2048;  // bytes of a seed's chunk that are worth damaging: the rest is zero

// An offset in the header or in the used part of a chunk.
size_t Offset(const std::string& file, std::mt19937* random) {
  const size_t chunks = (file.size() - kFileHeaderSize) / kChunkSize;
  const size_t chunk = (*random)() % (chunks + 1);
  if (chunk == chunks) return (*random)() % 512;
  const size_t at = kFileHeaderSize + chunk * kChunkSize + (*random)() % kInUse;
  return std::min(at, file.size() - 1);
}

void Damage(std::string* file, const std::string& other, std::mt19937* random) {
  const size_t at = Offset(*file, random);
  switch ((*random)() % 6) {
    case 0:
      (*file)[at] = static_cast<char>((*random)());
      return;
    case 1:
      (*file)[at] ^= static_cast<char>(1 << (*random)() % 8);
      return;
    case 2:  // a piece of another place or trace
      file->replace(at, std::min<size_t>(16, file->size() - at), other, Offset(other, random), 16);
      return;
    case 3:
      file->erase(at, 1 + (*random)() % 8);
      return;
    case 4:
      file->insert(at, 1 + (*random)() % 8, static_cast<char>((*random)()));
      return;
    default:  // the largest number a field can hold
      for (size_t i = at; i < std::min(at + 8, file->size()); ++i) (*file)[i] = static_cast<char>(0xff);
      return;
  }
}

TEST(MutationTest, SeedsAreReadWhole) {
  int64_t events = 0;
  for (const std::string& seed : Seeds()) {
    const int64_t count = Consume(seed);
    EXPECT_GE(count, 0);
    events += count;
  }
  EXPECT_GT(events, 60);
}

TEST(MutationTest, ASecondOfRandomDamage) {
  const std::vector<std::string> seeds = Seeds();
  std::mt19937 random(20260822);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  int64_t read = 0, rounds = 0;
  for (; std::chrono::steady_clock::now() < end; ++rounds) {
    std::string file = seeds[1 + rounds % (seeds.size() - 1)];
    for (size_t i = 0, count = 1 + random() % 6; i < count; ++i) {
      Damage(&file, seeds[1 + random() % (seeds.size() - 1)], &random);
      if (file.size() < kFileHeaderSize + kChunkSize) break;
    }
    read += Consume(file) > 0;
  }
  EXPECT_GT(rounds, 100);
  EXPECT_GT(read, rounds / 4) << "damage must not make most of the traces unreadable, or nothing is tested";
}

}  // namespace
}  // namespace oomtrace::fuzz
