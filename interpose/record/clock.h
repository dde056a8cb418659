// Ticks: the processor's time-stamp counter, 9 ns a read where clock_gettime costs 22. A reader converts them with the
// pairs of ticks and CLOCK_MONOTONIC that stand in the header and in each chunk.
#pragma once

#include <time.h>

#include <cstdint>

namespace oomtrace {

inline uint64_t Ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t ticks;
  asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks;
#else
#error "oomtrace records on x86-64 and aarch64"
#endif
}

inline uint64_t ClockNs(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace oomtrace
