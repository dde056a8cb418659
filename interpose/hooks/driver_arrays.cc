// Arrays (textures) asked of the CUDA driver. Their bytes are those of the descriptor: how the device pads them shows
// in its free bytes only.
#include <cuda.h>

#include "interpose/hooks/device_hook.h"

using namespace oomtrace;
using wire::MemoryKind;

namespace {

uint64_t ElementBytes(CUarray_format format) {
  switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
    case CU_AD_FORMAT_SIGNED_INT8:
      return 1;
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF:
      return 2;
    case CU_AD_FORMAT_UNSIGNED_INT32:
    case CU_AD_FORMAT_SIGNED_INT32:
    case CU_AD_FORMAT_FLOAT:
      return 4;
    default:
      return 0;  // compressed and planar formats, whose size only the device knows
  }
}

uint64_t AtLeastOne(size_t extent) { return extent == 0 ? 1 : extent; }

uint64_t ArrayBytes(const CUDA_ARRAY_DESCRIPTOR* array) {
  if (array == nullptr) return 0;
  return array->Width * AtLeastOne(array->Height) * array->NumChannels * ElementBytes(array->Format);
}

uint64_t ArrayBytes(const CUDA_ARRAY3D_DESCRIPTOR* array) {
  if (array == nullptr) return 0;
  return array->Width * AtLeastOne(array->Height) * AtLeastOne(array->Depth) * array->NumChannels *
         ElementBytes(array->Format);
}

// All levels of a pyramid in which each has half the extents of the one before.
uint64_t PyramidBytes(const CUDA_ARRAY3D_DESCRIPTOR* array, unsigned int levels) {
  if (array == nullptr) return 0;
  const auto halved = [](size_t size) { return size > 1 ? size / 2 : size; };
  uint64_t bytes = 0;
  CUDA_ARRAY3D_DESCRIPTOR level = *array;
  for (unsigned int i = 0; i < levels && i < 64; ++i) {
    bytes += ArrayBytes(&level);
    level.Width = halved(level.Width);
    level.Height = halved(level.Height);
    level.Depth = halved(level.Depth);
  }
  return bytes;
}

}  // namespace

OOMTRACE_EXPORT CUresult cuArrayCreate_v2(CUarray* array, const CUDA_ARRAY_DESCRIPTOR* description) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kArray, Written(success, array), ArrayBytes(description)};
  };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuArrayCreate), given, array, description);
}

OOMTRACE_EXPORT CUresult cuArray3DCreate_v2(CUarray* array, const CUDA_ARRAY3D_DESCRIPTOR* description) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kArray, Written(success, array), ArrayBytes(description)};
  };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuArray3DCreate), given, array, description);
}

OOMTRACE_EXPORT CUresult cuMipmappedArrayCreate(CUmipmappedArray* array, const CUDA_ARRAY3D_DESCRIPTOR* description,
                                                unsigned int levels) {
  const auto given = [=](bool success) {
    return DeviceAllocation{MemoryKind::kArray, Written(success, array), PyramidBytes(description, levels)};
  };
  return CallAllocating<CUresult>(OOMTRACE_SITE(kCuMipmappedArrayCreate), given, array, description, levels);
}

OOMTRACE_EXPORT CUresult cuArrayDestroy(CUarray array) {
  return CallReleasing<CUresult>(OOMTRACE_SITE(kCuArrayDestroy),
                                 {.kind = MemoryKind::kPhysical, .block = Number(array)}, array);
}

OOMTRACE_EXPORT CUresult cuMipmappedArrayDestroy(CUmipmappedArray array) {
  return CallReleasing<CUresult>(OOMTRACE_SITE(kCuMipmappedArrayDestroy),
                                 {.kind = MemoryKind::kPhysical, .block = Number(array)}, array);
}
