// What the recorder finds behind its hooks where PyTorch's libc10 would be: functions that only count. A host program
// that links this library makes tensor events as fast as it likes, without PyTorch.
#include <stddef.h>
#include <stdint.h>

struct device {
  int8_t type;
  int8_t index;
};

uint64_t reports_received = 0;

void _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE(void* block, int64_t bytes, size_t allocated,
                                                           size_t reserved, struct device device) {
  __atomic_fetch_add(&reports_received, 1, __ATOMIC_RELAXED);
}

void _ZN3c1027reportOutOfMemoryToProfilerElmmNS_6DeviceE(int64_t bytes, size_t allocated, size_t reserved,
                                                         struct device device) {
  __atomic_fetch_add(&reports_received, 1, __ATOMIC_RELAXED);
}
