// cuDNN's backend (graph) API: every operation graph has one engine, one configuration and one plan, without workspace.
//
// Declared here and not through cudnn_backend.h, which comes with a 400 MB wheel. Numbers are those of cuDNN 9.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <vector>

#include "simgpu/api.h"
#include "simgpu/api/cudnn.h"

namespace {

constexpr int kSuccess = 0;

// cudnnBackendAttributeName_t
enum Attribute {
  kEngineHeuristicResults = 202,
  kEngineConfigEngine = 300,
  kEngineConfigWorkspaceSize = 303,
  kEngineConfigSharedMemoryUsed = 304,
  kExecutionPlanWorkspaceSize = 402,
  kOperationGraphEngineGlobalCount = 802,
  kVariantPackDataPointers = 1001,
  kEngineGlobalIndex = 1301,
};

struct Descriptor {
  int type;
  std::map<int, std::vector<char>> attributes;
};

size_t BytesOf(int attribute_type) {
  switch (attribute_type) {
    case 2:   // CUDNN_TYPE_BOOLEAN
    case 24:  // CUDNN_TYPE_CHAR
      return 1;
    case 0:   // CUDNN_TYPE_HANDLE
    case 3:   // CUDNN_TYPE_INT64
    case 5:   // CUDNN_TYPE_DOUBLE
    case 6:   // CUDNN_TYPE_VOID_PTR
    case 15:  // CUDNN_TYPE_BACKEND_DESCRIPTOR
      return 8;
    default:  // enumerations, float, int32
      return 4;
  }
}

}  // namespace

void oomtrace::simgpu::CudnnPointers(void* variant_pack, const void** pointers, size_t most) {
  const auto& attributes = static_cast<Descriptor*>(variant_pack)->attributes;
  const auto it = attributes.find(kVariantPackDataPointers);
  if (it == attributes.end()) return;
  std::memcpy(pointers, it->second.data(), std::min(it->second.size(), most * sizeof(void*)));
}

SIMGPU_API int cudnnBackendCreateDescriptor(int type, void** descriptor) {
  *descriptor = new Descriptor{type, {}};
  return kSuccess;
}

SIMGPU_API int cudnnBackendDestroyDescriptor(void* descriptor) {
  delete static_cast<Descriptor*>(descriptor);
  return kSuccess;
}

SIMGPU_API int cudnnBackendFinalize(void*) { return kSuccess; }

SIMGPU_API int cudnnBackendSetAttribute(void* descriptor, int name, int type, int64_t count, const void* elements) {
  const auto* bytes = static_cast<const char*>(elements);
  if (bytes == nullptr || count < 0) return kSuccess;
  static_cast<Descriptor*>(descriptor)->attributes[name].assign(bytes, bytes + BytesOf(type) * count);
  return kSuccess;
}

// `count` receives how many elements there are; `elements` may be null to ask just that.
SIMGPU_API int cudnnBackendGetAttribute(void* descriptor, int name, int type, int64_t requested, int64_t* count,
                                        void* elements) {
  const auto answer = [&](int64_t value) {
    if (count != nullptr) *count = 1;
    if (elements != nullptr && requested > 0) std::memcpy(elements, &value, BytesOf(type));
    return kSuccess;
  };
  switch (name) {
    case kExecutionPlanWorkspaceSize:
    case kEngineConfigWorkspaceSize:
    case kEngineConfigSharedMemoryUsed:
    case kEngineGlobalIndex:
      return answer(0);
    case kOperationGraphEngineGlobalCount:
      return answer(1);
    case kEngineHeuristicResults:  // the caller made the descriptors to fill; there is nothing to put in them
    case kEngineConfigEngine:
      if (count != nullptr) *count = 1;
      return kSuccess;
    default:
      break;
  }
  const auto& attributes = static_cast<Descriptor*>(descriptor)->attributes;
  const auto it = attributes.find(name);
  const int64_t held = it == attributes.end() ? 0 : static_cast<int64_t>(it->second.size() / BytesOf(type));
  if (count != nullptr) *count = held;
  const int64_t copied = held < requested ? held : requested;
  if (elements != nullptr && copied > 0) std::memcpy(elements, it->second.data(), BytesOf(type) * copied);
  return kSuccess;
}
