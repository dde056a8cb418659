// nvJitLink: links nothing into an empty image. XLA (JAX) compiles its kernels through it where there is no ptxas.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "simgpu/api.h"
#include "simgpu/machine.h"

using namespace oomtrace::simgpu;

namespace {

constexpr char kImage[] = "// oomtrace simulated GPU: no code\n";

int Size(size_t* bytes) {
  *bytes = sizeof kImage;
  return 0;
}

int Image(void* image) {
  std::memcpy(image, kImage, sizeof kImage);
  return 0;
}

int EmptyLogSize(size_t* bytes) {
  *bytes = 1;
  return 0;
}

int EmptyLog(char* log) {
  *log = '\0';
  return 0;
}

int Create(void** handle) {
  *handle = reinterpret_cast<void*>(Machine::Get().NewHandle());
  return 0;
}

}  // namespace

// NVIDIA's header maps each name to one with a version; which one a client asks for depends on the header it was built
// with.
#define VERSIONED(name, parameters, body)                                                                \
  SIMGPU_API int nvJitLink##name parameters body SIMGPU_API int __nvJitLink##name##_12_0 parameters body \
      SIMGPU_API int __nvJitLink##name##_12_4 parameters body SIMGPU_API int __nvJitLink##name##_13_0 parameters body

VERSIONED(Create, (void** handle, uint32_t, const char**), { return Create(handle); })
VERSIONED(Destroy, (void** handle), {
  *handle = nullptr;
  return 0;
})
VERSIONED(AddData, (void*, int, const void*, size_t, const char*), { return 0; })
VERSIONED(AddFile, (void*, int, const char*), { return 0; })
VERSIONED(Complete, (void*), { return 0; })
VERSIONED(GetLinkedCubinSize, (void*, size_t* bytes), { return Size(bytes); })
VERSIONED(GetLinkedCubin, (void*, void* image), { return Image(image); })
VERSIONED(GetLinkedPtxSize, (void*, size_t* bytes), { return Size(bytes); })
VERSIONED(GetLinkedPtx, (void*, char* image), { return Image(image); })
VERSIONED(GetErrorLogSize, (void*, size_t* bytes), { return EmptyLogSize(bytes); })
VERSIONED(GetErrorLog, (void*, char* log), { return EmptyLog(log); })
VERSIONED(GetInfoLogSize, (void*, size_t* bytes), { return EmptyLogSize(bytes); })
VERSIONED(GetInfoLog, (void*, char* log), { return EmptyLog(log); })

SIMGPU_API int nvJitLinkVersion(unsigned int* major, unsigned int* minor) {
  *major = 13;
  *minor = 0;
  return 0;
}
