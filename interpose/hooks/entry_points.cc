// The doors through which the driver's functions are handed out by name. The driver (or the runtime) is asked first,
// with exactly the caller's arguments; then a function that we hook is exchanged for ours of the same version, and
// nothing else is touched. cuGetProcAddress has two ABIs: four arguments, and since CUDA 12 five.
#include <cuda.h>
#include <cuda_runtime_api.h>

#include "interpose/hooks/cuda_query.h"
#include "interpose/hooks/device_hook.h"
#include "interpose/hooks/entry_table.h"
#include "interpose/hooks/unknown_routes.h"

using namespace oomtrace;

namespace {

void ExchangeAnswer(const HookSite& site, const char* name, void** function, int version, uint64_t flags) {
  if (name == nullptr || function == nullptr || *function == nullptr || IsOurs(*function)) return;
  const EntryChoice choice = ChooseEntry(name, version, flags, *function);
  if (choice.ours != nullptr) {
    *function = choice.ours;
  } else if (choice.known_name) {
    NoteUnknownRoute(wire::RouteKind::kUnhookedFunction, name, site.caller, true);
  }
}

}  // namespace

#undef cuGetProcAddress
OOMTRACE_EXPORT CUresult cuGetProcAddress(const char* name, void** function, int version, cuuint64_t flags) {
  const HookSite site = OOMTRACE_SITE(kCuGetProcAddress);
  const CUresult result = CallReal<CUresult>(site, name, function, version, flags);
  if (result == CUDA_SUCCESS) ExchangeAnswer(site, name, function, version, flags);
  return result;
}

OOMTRACE_EXPORT CUresult cuGetProcAddress_v2(const char* name, void** function, int version, cuuint64_t flags,
                                             CUdriverProcAddressQueryResult* status) {
  const HookSite site = OOMTRACE_SITE(kCuGetProcAddressV2);
  const CUresult result = CallReal<CUresult>(site, name, function, version, flags, status);
  if (result == CUDA_SUCCESS) ExchangeAnswer(site, name, function, version, flags);
  return result;
}

OOMTRACE_EXPORT cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned int version,
                                                             unsigned long long flags,
                                                             cudaDriverEntryPointQueryResult* status) {
  const HookSite site = OOMTRACE_SITE(kGetDriverEntryPointByVersion);
  const cudaError_t result = CallReal<cudaError_t>(site, name, function, version, flags, status);
  if (result == cudaSuccess) ExchangeAnswer(site, name, function, static_cast<int>(version), flags);
  return result;
}

// The version is that of the CUDA runtime.
OOMTRACE_EXPORT cudaError_t cudaGetDriverEntryPoint(const char* name, void** function, unsigned long long flags,
                                                    cudaDriverEntryPointQueryResult* status) {
  const HookSite site = OOMTRACE_SITE(kGetDriverEntryPoint);
  const cudaError_t result = CallReal<cudaError_t>(site, name, function, flags, status);
  if (result == cudaSuccess) ExchangeAnswer(site, name, function, static_cast<int>(RuntimeVersion()), flags);
  return result;
}
