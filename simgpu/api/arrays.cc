// Arrays, of the runtime and of the driver: device memory behind a handle, which is its address. Textures are not read
// here, so nothing but the size of an array matters.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <limits>

#include "simgpu/api/driver.h"
#include "simgpu/api/runtime.h"

using namespace oomtrace::simgpu;

namespace {

// Of an array; an extent of 0 is one that it does not have. What overflows is more than any device has.
size_t Bytes(const cudaExtent& extent, size_t element) {
  size_t bytes = extent.width;
  for (const size_t factor : {std::max<size_t>(extent.height, 1), std::max<size_t>(extent.depth, 1), element}) {
    if (__builtin_mul_overflow(bytes, factor, &bytes)) return std::numeric_limits<size_t>::max();
  }
  return bytes;
}

size_t Bytes(const cudaChannelFormatDesc& format, const cudaExtent& extent) {
  return Bytes(extent, static_cast<size_t>(format.x + format.y + format.z + format.w) / 8);
}

size_t ElementBytes(CUarray_format format) {
  switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
    case CU_AD_FORMAT_SIGNED_INT8:
      return 1;
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF:
      return 2;
    default:
      return 4;
  }
}

size_t Bytes(const CUDA_ARRAY3D_DESCRIPTOR& array) {
  return Bytes({array.Width, array.Height, array.Depth}, array.NumChannels * ElementBytes(array.Format));
}

// Of all levels, each half as wide, high and deep as the one before.
size_t PyramidBytes(cudaExtent extent, unsigned int levels, size_t element) {
  const auto half = [](size_t size) { return size > 1 ? size / 2 : size; };
  size_t bytes = 0;
  for (unsigned int level = 0; level < levels; ++level) {
    if (__builtin_add_overflow(bytes, Bytes(extent, element), &bytes)) return std::numeric_limits<size_t>::max();
    extent = {half(extent.width), half(extent.height), half(extent.depth)};
  }
  return bytes;
}

template <typename Handle>
cudaError_t Create(Handle* handle, size_t bytes) {
  SIMGPU_REQUIRE_CONTEXT();
  const uintptr_t address = Machine::Get().current().Allocate(bytes, Machine::own_context());
  *handle = reinterpret_cast<Handle>(address);
  if (address != 0) return Return(cudaSuccess);
  return Return(bytes == 0 ? cudaErrorInvalidValue : cudaErrorMemoryAllocation);
}

template <typename Handle>
cudaError_t Destroy(Handle handle) {
  if (handle == nullptr) return Return(cudaSuccess);
  for (int i = 0; i < Machine::Get().device_count(); ++i)
    if (Machine::Get().device(i).Free(reinterpret_cast<uintptr_t>(handle))) return Return(cudaSuccess);
  return Return(cudaErrorInvalidResourceHandle);
}

}  // namespace

SIMGPU_API cudaError_t cudaMallocArray(cudaArray_t* array, const cudaChannelFormatDesc* format, size_t width,
                                       size_t height, unsigned int) {
  return Create(array, Bytes(*format, {width, height, 0}));
}

SIMGPU_API cudaError_t cudaMalloc3DArray(cudaArray_t* array, const cudaChannelFormatDesc* format, cudaExtent extent,
                                         unsigned int) {
  return Create(array, Bytes(*format, extent));
}

SIMGPU_API cudaError_t cudaMallocMipmappedArray(cudaMipmappedArray_t* array, const cudaChannelFormatDesc* format,
                                                cudaExtent extent, unsigned int levels, unsigned int) {
  const auto bits = static_cast<size_t>(format->x + format->y + format->z + format->w);
  return Create(array, PyramidBytes(extent, levels, bits / 8));
}

SIMGPU_API cudaError_t cudaFreeArray(cudaArray_t array) { return Destroy(array); }
SIMGPU_API cudaError_t cudaFreeMipmappedArray(cudaMipmappedArray_t array) { return Destroy(array); }

SIMGPU_API CUresult cuArrayCreate_v2(CUarray* array, const CUDA_ARRAY_DESCRIPTOR* description) {
  const CUDA_ARRAY3D_DESCRIPTOR flat = {description->Width,  description->Height,      0,
                                        description->Format, description->NumChannels, 0};
  return Driver(Create(array, Bytes(flat)));
}

SIMGPU_API CUresult cuArray3DCreate_v2(CUarray* array, const CUDA_ARRAY3D_DESCRIPTOR* description) {
  return Driver(Create(array, Bytes(*description)));
}

SIMGPU_API CUresult cuMipmappedArrayCreate(CUmipmappedArray* array, const CUDA_ARRAY3D_DESCRIPTOR* description,
                                           unsigned int levels) {
  const size_t element = description->NumChannels * ElementBytes(description->Format);
  const cudaExtent extent = {description->Width, description->Height, description->Depth};
  return Driver(Create(array, PyramidBytes(extent, levels, element)));
}

SIMGPU_API CUresult cuArrayDestroy(CUarray array) { return Driver(Destroy(array)); }
SIMGPU_API CUresult cuMipmappedArrayDestroy(CUmipmappedArray array) { return Driver(Destroy(array)); }
