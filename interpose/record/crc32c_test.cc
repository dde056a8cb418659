#include "interpose/record/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace oomtrace {
namespace {

TEST(Crc32c, KnownVectors) {  // RFC 3720, B.4, and the check value of the CRC catalogue
  EXPECT_EQ(Crc32c("123456789", 9), 0xe3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0').data(), 32), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff').data(), 32), 0x62a8ab43u);
  EXPECT_EQ(Crc32c("", 0), 0u);
}

TEST(Crc32c, TableAndInstructionAgree) {
  std::mt19937_64 random(1);
  for (size_t size = 0; size < 300; ++size) {
    std::string data(size, 0);
    for (char& byte : data) byte = static_cast<char>(random());
    EXPECT_EQ(Crc32c(data.data(), size), internal::Crc32cTable(reinterpret_cast<const uint8_t*>(data.data()), size));
  }
}

}  // namespace
}  // namespace oomtrace
