// Modules and libraries: code and `__device__` data. What one takes shows in the device's free bytes, where the driver
// loads it at once; with lazy loading (the default since CUDA 12.2) a kernel's code comes with its first launch.
#include <cuda.h>

#include "interpose/hooks/device_hook.h"

using namespace oomtrace;
using wire::MemoryKind;

namespace {

template <typename Handle, typename... Arguments>
CUresult Load(const HookSite& site, Handle* loaded, Arguments... arguments) {
  const auto given = [=] { return DeviceAllocation{MemoryKind::kCode, Written(true, loaded)}; };
  return CallMeasured<CUresult>(site, kCurrentDevice, given, loaded, arguments...);
}

}  // namespace

OOMTRACE_EXPORT CUresult cuModuleLoad(CUmodule* module, const char* file) {
  return Load(OOMTRACE_SITE(kCuModuleLoad), module, file);
}

OOMTRACE_EXPORT CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  return Load(OOMTRACE_SITE(kCuModuleLoadData), module, image);
}

OOMTRACE_EXPORT CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned int count,
                                            CUjit_option* options, void** values) {
  return Load(OOMTRACE_SITE(kCuModuleLoadDataEx), module, image, count, options, values);
}

OOMTRACE_EXPORT CUresult cuModuleLoadFatBinary(CUmodule* module, const void* image) {
  return Load(OOMTRACE_SITE(kCuModuleLoadFatBinary), module, image);
}

OOMTRACE_EXPORT CUresult cuModuleUnload(CUmodule module) {
  return CallReleasing<CUresult>(OOMTRACE_SITE(kCuModuleUnload), {.kind = MemoryKind::kCode, .block = Number(module)},
                                 module);
}

OOMTRACE_EXPORT CUresult cuLibraryLoadData(CUlibrary* library, const void* code, CUjit_option* options, void** values,
                                           unsigned int count, CUlibraryOption* library_options, void** library_values,
                                           unsigned int library_count) {
  return Load(OOMTRACE_SITE(kCuLibraryLoadData), library, code, options, values, count, library_options, library_values,
              library_count);
}

OOMTRACE_EXPORT CUresult cuLibraryLoadFromFile(CUlibrary* library, const char* file, CUjit_option* options,
                                               void** values, unsigned int count, CUlibraryOption* library_options,
                                               void** library_values, unsigned int library_count) {
  return Load(OOMTRACE_SITE(kCuLibraryLoadFromFile), library, file, options, values, count, library_options,
              library_values, library_count);
}

OOMTRACE_EXPORT CUresult cuLibraryUnload(CUlibrary library) {
  return CallReleasing<CUresult>(OOMTRACE_SITE(kCuLibraryUnload), {.kind = MemoryKind::kCode, .block = Number(library)},
                                 library);
}
