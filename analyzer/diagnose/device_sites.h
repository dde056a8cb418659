// Programs without PyTorch: what their device calls tell. There are no tensors and no steps there, only who asked the
// device for how much, from which place, and what was given back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analyzer/timeline/timeline.h"
#include "report.pb.h"

namespace oomtrace {

// Whether the process never had a tensor: everything it took, it asked of the device itself.
bool WithoutTorch(const Timeline& timeline);

// Device calls from one place: the same code of the same library, called from the same Python statement.
struct DeviceSite {
  std::string library;  // path
  uint64_t caller = 0;  // offset in it
  uint32_t stack = 0;   // index into Timeline::stacks, 0: none
  std::string api;
  int64_t bytes = 0;    // that live at the moment asked for
  int64_t count = 0;    // allocations that live then
  int64_t largest = 0;  // of them
  int64_t made = 0;     // allocations until then, in all
  int64_t first = 0;    // ns, of the first
  int64_t last = 0;     // ns, of the last
  uint32_t thread = 0;  // of the last
  bool many_threads = false;
};

// Sites that hold memory of the device at `moment`, largest first.
std::vector<DeviceSite> DeviceSitesAt(const Timeline& timeline, int64_t moment);

// Allocations until `moment` that the process made on the device, and how many of them it gave back.
struct DeviceCalls {
  int64_t made = 0;
  int64_t freed = 0;
};
DeviceCalls CountDeviceCalls(const Timeline& timeline, int64_t moment);

// A site that keeps what it takes, or ever more of it.
struct DeviceGrowth {
  bool found = false;
  DeviceSite site;
  bool among_others = false;  // the site serves temporaries as well: a function that others allocate by
  uint32_t thread = 0;        // of several that call it, the one that made what is kept; 0: no single one
  double bytes_per_second = 0;
  double bytes_per_1000_calls = 0;  // of all the process's device allocations
};
DeviceGrowth FindDeviceGrowth(const Timeline& timeline, const std::vector<DeviceSite>& sites, int64_t moment);

// The same of a program that did not die of it: what the site held must have climbed from quarter to quarter of its
// life, the end of the recording included. What was filled once, or given back, does not grow.
DeviceGrowth FindLastingGrowth(const Timeline& timeline);

// The same of a training, from quarter to quarter of its steps until `moment`; it takes at least eight of them.
DeviceGrowth FindGrowthOverSteps(const Timeline& timeline, int64_t moment);

// Bytes that the program has freed into its stream-ordered pools by `moment`: what they can keep at most, the highest
// that lived in each until then, less what lives.
int64_t FreedIntoPools(const Timeline& timeline, int64_t moment);

// Whether the refused call asked a stream-ordered pool, which serves it from what it keeps first.
bool InStreamOrder(const OutOfMemory& refusal);

// Bytes of contexts and code, as they were measured when they were made; 0: not measured.
int64_t MeasuredOverhead(const Timeline& timeline, int64_t moment);

// A place outside PyTorch that decided, with the bytes that it holds or asked for.
void FillDeviceCulprit(const Timeline& timeline, const std::string& library, uint64_t caller, uint32_t stack,
                       int64_t bytes, report::Culprit* culprit);

// "libcupy.so", "train" for the program itself.
std::string LibraryName(const std::string& path);
// "main thread", "thread 4711".
std::string ThreadName(const Timeline& timeline, uint32_t thread);
// The function in the library, "" where its name is not known.
std::string FunctionName(const Timeline& timeline, const std::string& library, uint64_t caller);
// The place for people: the Python statement where there is one, else the function in the library, else the offset.
std::string PlaceName(const Timeline& timeline, const std::string& library, uint64_t caller, uint32_t stack);

}  // namespace oomtrace
