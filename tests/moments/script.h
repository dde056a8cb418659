// What the writer does and the test expects to find: operations of which each commits one event.
#pragma once

#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

namespace oomtrace::moments {

enum class Act {
  kAlloc,
  kFree,
  kRole,
  kHostCopy,
  kDeviceAlloc,
  kDeviceFree,
  kStepEnd,
  kFiller,    // an event of kFillerBytes that says nothing, so that chunks fill up and are folded
  kTooLarge,  // a role of more than the fold can hold: folding ends, and chunks are recycled
};

struct Operation {
  Act act;
  int thread;  // 0, 1: who does it; the other one waits
  uint64_t address;
  uint64_t bytes;
  uint32_t line;  // of the only frame of the allocation's stack; 0: none
};

inline constexpr uint64_t kFillerBytes = 20000;
inline constexpr uint64_t kBudgetChunks = 15;  // of 1 MiB, the smallest

// "one": one thread. "two": two in turn. "lossy": folding breaks off.
inline std::vector<Operation> Script(std::string_view name) {
  constexpr uint64_t kBlocks = 12, kBlock = 1 << 20;
  std::mt19937_64 random(name.size() + static_cast<unsigned char>(name[0]));  // the same numbers everywhere
  const bool two = name == "two";
  std::vector<Operation> script;
  uint64_t live[kBlocks + 1] = {}, device_live = 0;
  int thread = 0;
  const auto add = [&](Act act, uint64_t address = 0, uint64_t bytes = 0, uint32_t line = 0) {
    script.push_back({act, thread, address, bytes, line});
  };
  const int rounds = name == "lossy" ? 110 : 90;
  for (int round = 0; round < rounds; ++round) {
    if (two && random() % 3 == 0) thread = 1 - thread;
    const uint64_t block = random() % kBlocks + 1;
    if (live[block] != 0) {
      add(Act::kFree, block * kBlock);
      live[block] = 0;
    } else {
      live[block] = 512 * (random() % 90 + 1);
      add(Act::kAlloc, block * kBlock, live[block], static_cast<uint32_t>(random() % 7));
      if (random() % 4 == 0) add(Act::kRole, block * kBlock, live[block]);
      if (random() % 5 == 0) add(Act::kHostCopy, block * kBlock, live[block]);
    }
    if (round % 9 == 4) {
      device_live == 0 ? add(Act::kDeviceAlloc, device_live = 99 * kBlock, 7 * kBlock)
                       : add(Act::kDeviceFree, device_live);
      if (script.back().act == Act::kDeviceFree) device_live = 0;
    }
    if (round % 10 == 9) add(Act::kStepEnd);
    if (round % 2 == 1) add(Act::kFiller);
    if (name == "lossy" && round == 2) {
      for (uint64_t i = 1; i <= kBlocks; ++i)
        if (live[i] != 0) add(Act::kTooLarge, i * kBlock, live[i]);
    }
  }
  return script;
}

// What the writer says while it goes, in memory that outlives it.
struct Progress {
  uint64_t done;    // operations
  uint64_t points;  // test points that it came past
  uint64_t finished;
  char names[4000];  // of those points, a line each; once it has finished
};

}  // namespace oomtrace::moments
