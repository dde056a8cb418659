// Reports blocks as PyTorch's caching allocator does, as fast as it can, and says what a pair of events took: an
// allocation and its free. Loaded into Python, so that the recorder finds the interpreter's frames.
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct device {
  int8_t type;
  int8_t index;
};
void _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE(void* block, int64_t bytes, size_t allocated,
                                                           size_t reserved, struct device device);

static double now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e9 * (double)now.tv_sec + (double)now.tv_nsec;
}

// The least of `rounds` rounds of `pairs` pairs, in ns a pair: what other processes take does not count.
double pair_ns(long rounds, long pairs) {
  const struct device cuda = {1, 0};
  double least = 1e18;
  for (long round = 0; round < rounds; ++round) {
    const double begin = now_ns();
    for (long i = 0; i < pairs; ++i) {
      void* block = (void*)(0x7e0000000000u + (uint64_t)i % 4096 * 7919 % 4096 * 8192);
      const int64_t bytes = 512 << i % 12;
      _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE(block, bytes, 0, (size_t)4 << 30, cuda);
      _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE(block, -bytes, 0, (size_t)4 << 30, cuda);
    }
    const double took = (now_ns() - begin) / (double)pairs;
    if (took < least) least = took;
  }
  return least;
}

// An anchor: what reading the processor's time-stamp counter takes on this machine.
double ticks_ns(void) {
  double least = 1e18;
  for (int round = 0; round < 50; ++round) {
    const double begin = now_ns();
    for (int i = 0; i < 10000; ++i) {
#if defined(__x86_64__)
      (void)__builtin_ia32_rdtsc();
#else
      uint64_t ticks;
      __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
#endif
    }
    const double took = (now_ns() - begin) / 10000;
    if (took < least) least = took;
  }
  return least;
}
