// cuBLASLt's descriptors: what was set can be read back. XLA asks a matrix layout for its type before it multiplies.
//
// Declared here and not through NVIDIA's header, see cublas.cc. The numbers of the attributes are those of cublasLt.h.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <vector>

#include "simgpu/api.h"
#include "simgpu/api/runtime.h"

using namespace oomtrace::simgpu;

namespace {

constexpr int kSuccess = 0;
constexpr int kNotInitialized = 1;
constexpr int kInvalidValue = 7;
constexpr int kNotSupported = 15;

class Descriptor {
 public:
  template <typename Value>
  void Put(int attribute, Value value) {
    Set(attribute, &value, sizeof value);
  }

  void Set(int attribute, const void* value, size_t bytes) {
    const auto* first = static_cast<const unsigned char*>(value);
    values_[attribute].assign(first, first + bytes);
  }

  // With room for 0 bytes the size alone is asked.
  int Get(int attribute, void* value, size_t room, size_t* written) const {
    const auto found = values_.find(attribute);
    if (found == values_.end()) return kNotSupported;
    if (written != nullptr) *written = found->second.size();
    if (room == 0) return kSuccess;
    if (room < found->second.size()) return kInvalidValue;
    std::memcpy(value, found->second.data(), found->second.size());
    return kSuccess;
  }

 private:
  std::map<int, std::vector<unsigned char>> values_;
};

Descriptor* From(void* handle) { return static_cast<Descriptor*>(handle); }

int Make(void** handle, Descriptor*& descriptor) {
  if (RequireCurrent() != Refusal::kNone) return kNotInitialized;
  *handle = descriptor = new Descriptor;
  return kSuccess;
}

}  // namespace

SIMGPU_API int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t columns, int64_t leading) {
  Descriptor* made = nullptr;
  if (const int error = Make(layout, made)) return error;
  made->Put<uint32_t>(0, static_cast<uint32_t>(type));
  made->Put<int32_t>(1, 0);  // CUBLASLT_ORDER_COL
  made->Put<uint64_t>(2, rows);
  made->Put<uint64_t>(3, columns);
  made->Put<int64_t>(4, leading);
  made->Put<int32_t>(5, 1);  // batches
  made->Put<int64_t>(6, 0);  // from batch to batch
  return kSuccess;
}

SIMGPU_API int cublasLtMatmulDescCreate(void** descriptor, int compute_type, int scale_type) {
  Descriptor* made = nullptr;
  if (const int error = Make(descriptor, made)) return error;
  made->Put<int32_t>(0, compute_type);
  made->Put<int32_t>(1, scale_type);
  for (int attribute = 2; attribute <= 6; ++attribute) made->Put<int32_t>(attribute, 0);  // host scalars, no transpose
  made->Put<uint32_t>(7, 1);                                                              // CUBLASLT_EPILOGUE_DEFAULT
  return kSuccess;
}

SIMGPU_API int cublasLtMatmulPreferenceCreate(void** preference) {
  Descriptor* made = nullptr;
  if (const int error = Make(preference, made)) return error;
  made->Put<uint64_t>(1, 0);  // most bytes of workspace
  return kSuccess;
}

#define ATTRIBUTES(kind)                                                                                      \
  SIMGPU_API int cublasLt##kind##Destroy(void* handle) {                                                      \
    delete From(handle);                                                                                      \
    return kSuccess;                                                                                          \
  }                                                                                                           \
  SIMGPU_API int cublasLt##kind##SetAttribute(void* handle, int attribute, const void* value, size_t bytes) { \
    if (handle == nullptr || value == nullptr) return kInvalidValue;                                          \
    From(handle)->Set(attribute, value, bytes);                                                               \
    return kSuccess;                                                                                          \
  }                                                                                                           \
  SIMGPU_API int cublasLt##kind##GetAttribute(void* handle, int attribute, void* value, size_t room,          \
                                              size_t* written) {                                              \
    if (handle == nullptr) return kInvalidValue;                                                              \
    return From(handle)->Get(attribute, value, room, written);                                                \
  }
ATTRIBUTES(MatrixLayout)
ATTRIBUTES(MatmulDesc)
ATTRIBUTES(MatmulPreference)
