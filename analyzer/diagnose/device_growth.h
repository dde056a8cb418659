// Places that keep taking memory of the device: what a leak is in a program without tensors and steps.
#pragma once

#include <cstdint>
#include <vector>

#include "analyzer/diagnose/device_sites.h"
#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// A site that keeps what it takes, or ever more of it.
struct DeviceGrowth {
  bool found = false;
  DeviceSite site;
  bool among_others = false;  // the site serves temporaries as well: a function that others allocate by
  uint32_t thread = 0;        // of several that call it, the one that made what is kept; 0: no single one
  // Of what was kept since the first quarter of the program's allocations: what is made at the start is no part of it.
  double bytes_per_second = 0;
  double bytes_per_1000_calls = 0;  // of all the process's device allocations
  double taken_per_1000_calls = 0;  // the same in the driver's pages
};

// Those that grow until `moment`, the one that grew most first.
std::vector<DeviceGrowth> FindDeviceGrowths(const Timeline& timeline, const std::vector<DeviceSite>& sites,
                                            int64_t moment);
// The first of them.
DeviceGrowth FindDeviceGrowth(const Timeline& timeline, const std::vector<DeviceSite>& sites, int64_t moment);

// The same of a program that did not die of it: what the site held must have climbed from quarter to quarter of its
// life, the end of the recording included. What was filled once, or given back, does not grow.
DeviceGrowth FindLastingGrowth(const Timeline& timeline);

// The same of a training, from quarter to quarter of its steps until `moment`; it takes at least eight of them.
DeviceGrowth FindGrowthOverSteps(const Timeline& timeline, int64_t moment);

// Whether several threads hold one allocation of the site each: what a thread takes when it starts.
bool IsOnePerThread(const Timeline& timeline, const DeviceSite& site, int64_t moment);

}  // namespace oomtrace
