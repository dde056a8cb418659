// Arrays (textures) asked of the CUDA runtime. Their bytes are those of the descriptor: how the device pads them shows
// in its free bytes only.
#include <cuda_runtime_api.h>

#include "interpose/hooks/device_hook.h"

using namespace oomtrace;
using wire::MemoryKind;

namespace {

size_t AtLeastOne(size_t extent) { return extent == 0 ? 1 : extent; }

// An extent of 0 means that the array has one dimension fewer.
uint64_t ArrayBytes(const cudaChannelFormatDesc* format, const cudaExtent& extent) {
  if (format == nullptr) return 0;
  const auto bits = static_cast<uint64_t>(format->x + format->y + format->z + format->w);
  return extent.width * AtLeastOne(extent.height) * AtLeastOne(extent.depth) * bits / 8;
}

// All levels of a pyramid in which each has half the extents of the one before.
uint64_t PyramidBytes(const cudaChannelFormatDesc* format, cudaExtent extent, unsigned int levels) {
  uint64_t bytes = 0;
  const auto halved = [](size_t size) { return size > 1 ? size / 2 : size; };
  for (unsigned int level = 0; level < levels && level < 64; ++level) {
    bytes += ArrayBytes(format, extent);
    extent = {halved(extent.width), halved(extent.height), halved(extent.depth)};
  }
  return bytes;
}

}  // namespace

OOMTRACE_EXPORT cudaError_t cudaMallocArray(cudaArray_t* array, const cudaChannelFormatDesc* format, size_t width,
                                            size_t height, unsigned int flags) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kArray, Written(success, array), ArrayBytes(format, {width, height, 0})};
  };
  return CallAllocating<cudaError_t>(OOMTRACE_SITE(kMallocArray), given, array, format, width, height, flags);
}

OOMTRACE_EXPORT cudaError_t cudaMalloc3DArray(cudaArray_t* array, const cudaChannelFormatDesc* format,
                                              cudaExtent extent, unsigned int flags) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kArray, Written(success, array), ArrayBytes(format, extent)};
  };
  return CallAllocating<cudaError_t>(OOMTRACE_SITE(kMalloc3DArray), given, array, format, extent, flags);
}

OOMTRACE_EXPORT cudaError_t cudaMallocMipmappedArray(cudaMipmappedArray_t* array, const cudaChannelFormatDesc* format,
                                                     cudaExtent extent, unsigned int levels, unsigned int flags) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kArray, Written(success, array), PyramidBytes(format, extent, levels)};
  };
  return CallAllocating<cudaError_t>(OOMTRACE_SITE(kMallocMipmappedArray), given, array, format, extent, levels, flags);
}

OOMTRACE_EXPORT cudaError_t cudaFreeArray(cudaArray_t array) {
  return CallReleasing<cudaError_t>(OOMTRACE_SITE(kFreeArray), {.kind = MemoryKind::kPhysical, .block = Number(array)},
                                    array);
}

OOMTRACE_EXPORT cudaError_t cudaFreeMipmappedArray(cudaMipmappedArray_t array) {
  return CallReleasing<cudaError_t>(OOMTRACE_SITE(kFreeMipmappedArray),
                                    {.kind = MemoryKind::kPhysical, .block = Number(array)}, array);
}
