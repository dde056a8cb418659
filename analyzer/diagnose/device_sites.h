// Programs without PyTorch: what their device calls tell. There are no tensors and no steps there, only who asked the
// device for how much, from which place, and what was given back.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
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
  int64_t taken = 0;    // of the device for them, in the driver's pages
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

// Whether the allocation is one of the device's that this process asked for itself, contexts and code left out.
bool CountsOnDevice(const Timeline& timeline, const DeviceAllocation& allocation);

// The driver hands out device memory in pages of this size, in bytes: a remainder below it serves nobody.
inline constexpr int64_t kDevicePage = int64_t{2} << 20;

// What it takes of the device: the driver gives out pages of 2 MiB, an allocation of 1 MiB and more has pages of its
// own, and smaller ones share.
int64_t InPages(const DeviceAllocation& allocation);

// Tells the allocations of a site from others; what a place is called is asked once for each call. Both must outlive
// it.
class SiteMembers {
 public:
  SiteMembers(const Timeline& timeline, const DeviceSite& site) : timeline_(timeline), site_(site) {}
  bool Has(const DeviceAllocation& allocation);

 private:
  const Timeline& timeline_;
  const DeviceSite& site_;
  std::map<std::pair<uint64_t, uint32_t>, bool> calls_;
};

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
