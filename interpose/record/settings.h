// The variables by which a user sets the recorder: what each may hold, and what is taken where it holds nonsense.
//
// Switches are OOMTRACE, OOMTRACE_DLSYM and OOMTRACE_STACKS, which are on by themselves, and OOMTRACE_VERBOSE, which is
// off: 1, on, yes and true mean on; 0, off, no and false mean off, in any case.
//
// OOMTRACE_BUDGET is a size: bytes, or a number with K, M, G or T (KB and KiB, too), which are multiples of 1024.
//
// OOMTRACE_TIMELINE is a window of optimizer steps, counted from 1: N, the first N of them, or A-B.
//
// OOMTRACE_CUPTI is a tier: off, mem or timeline.
//
// An empty variable is one that is not set. Any thread; nothing is allocated.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomtrace {

inline constexpr uint64_t kDefaultBudget = 512u << 20;

// Of a switch; `otherwise` where it is not set or holds nonsense.
bool SwitchedOn(const char* name, bool otherwise);

// False: no size. `bytes` is left alone then.
bool ParseSize(const char* text, uint64_t* bytes);
// $OOMTRACE_BUDGET, at least TraceFile::kSmallestBudget.
uint64_t BudgetBytes();

// Optimizer steps, counted from 1.
struct StepWindow {
  uint64_t first = 1;
  uint64_t last = 3;
};
// False: neither a number nor a range. `window` is left alone then.
bool ParseSteps(const char* text, StepWindow* window);

enum class CuptiTier { kOff, kMemory, kTimeline };
// False: no tier.
bool ParseTier(const char* text, CuptiTier* tier);

// One line on stderr for each variable that holds nonsense: its name, its value, and what is taken instead. Once in a
// process and the children that it forks.
void SayNonsense();

}  // namespace oomtrace
