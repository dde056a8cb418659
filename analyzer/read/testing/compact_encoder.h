// Writes compact events for tests, by proto/trace.proto: one for each chunk.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace oomtrace::testing {

class CompactEncoder {
 public:
  // Appends one event to `run`; `time` in units of 16 ticks since the event before.
  void Alloc(std::string* run, uint64_t time, uint64_t address, uint32_t site, uint32_t device);
  void AllocWithoutSite(std::string* run, uint64_t time, uint64_t address, uint64_t bytes, uint32_t stack,
                        uint32_t layout, uint32_t context, uint32_t device);
  void Free(std::string* run, uint64_t time, uint64_t address, uint32_t device);
  void Reserved(std::string* run, uint64_t time, uint32_t device, uint64_t bytes);

 private:
  struct Block {
    uint64_t rotated;
    uint32_t device;
  };

  void NewBlock(std::string* run, uint64_t rotated);

  std::map<uint64_t, Block> slots_;
  uint64_t last_new_ = 0;
};

// The tag and the length before a run that begins at `offset` of its chunk; `length` in bytes.
std::string CompactHeader(size_t offset, size_t length);

}  // namespace oomtrace::testing
