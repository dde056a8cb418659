// Tensor factories: while one runs on a thread, what the caching allocator hands out there is a tensor of that shape.
#include "interpose/hooks/attribution.h"
#include "interpose/hooks/real.h"
#include "interpose/hooks/scopes.h"
#include "interpose/hooks/torch_types.h"
#include "interpose/python/python_part.h"

using namespace oomtrace;

namespace {

using FactoryScope = Scope<LayoutState>;
// The last argument is std::optional<c10::MemoryFormat>: two bytes in whatever order, handed on as they came.
using EmptyGeneric = ReturnedInMemory(IntArrayRef, void* allocator, uint64_t keys, int8_t dtype, uint64_t format);
using EmptyStrided = ReturnedInMemory(IntArrayRef, IntArrayRef, void* allocator, uint64_t keys, int8_t dtype);

LayoutState Contiguous(IntArrayRef size, int8_t dtype) {
  return {size.data, nullptr, static_cast<uint32_t>(size.size), dtype};
}

// Whether the strides are those of a contiguous tensor, which are not worth a layout of their own.
bool IsContiguous(IntArrayRef size, IntArrayRef stride) {
  if (size.size != stride.size) return false;
  int64_t expected = 1;
  for (uint64_t i = size.size; i-- > 0;) {
    if (size.data[i] != 1 && stride.data[i] != expected) return false;
    expected *= size.data[i];
  }
  return true;
}

[[gnu::always_inline]] inline ReturnedInMemory CallEmptyGeneric(HookId id, const void* caller, IntArrayRef size,
                                                                void* allocator, uint64_t keys, int8_t dtype,
                                                                uint64_t format) {
  ResolveTorch();
  FactoryScope scope(&thread_scopes.factory, Contiguous(size, dtype));
  return Real<EmptyGeneric>(id, caller)(size, allocator, keys, dtype, format);
}

}  // namespace

OOMTRACE_HOT_EXPORT ReturnedInMemory
_ZN2at6detail13empty_genericEN3c108ArrayRefIlEEPNS1_9AllocatorENS1_14DispatchKeySetENS1_10ScalarTypeESt8optionalINS1_12MemoryFormatEE(
    IntArrayRef size, void* allocator, uint64_t keys, int8_t dtype, uint64_t format) {
  return CallEmptyGeneric(HookId::kEmptyGeneric, __builtin_return_address(0), size, allocator, keys, dtype, format);
}

OOMTRACE_HOT_EXPORT ReturnedInMemory
_ZN2at6detail13empty_genericEN3c108ArrayRefIlEEPNS1_9AllocatorENS1_14DispatchKeySetENS1_10ScalarTypeENS1_8optionalINS1_12MemoryFormatEEE(
    IntArrayRef size, void* allocator, uint64_t keys, int8_t dtype, uint64_t format) {
  return CallEmptyGeneric(HookId::kEmptyGenericOld, __builtin_return_address(0), size, allocator, keys, dtype, format);
}

OOMTRACE_HOT_EXPORT ReturnedInMemory
_ZN2at6detail21empty_strided_genericEN3c108ArrayRefIlEES3_PNS1_9AllocatorENS1_14DispatchKeySetENS1_10ScalarTypeE(
    IntArrayRef size, IntArrayRef stride, void* allocator, uint64_t keys, int8_t dtype) {
  const void* caller = __builtin_return_address(0);
  ResolveTorch();
  LayoutState layout = Contiguous(size, dtype);
  if (size.size == stride.size && !IsContiguous(size, stride)) layout.strides = stride.data;
  FactoryScope scope(&thread_scopes.factory, layout);
  return Real<EmptyStrided>(HookId::kEmptyStridedGeneric, caller)(size, stride, allocator, keys, dtype);
}

// A storage that is resized has bytes; the tensor's shape and type are not known here.
OOMTRACE_EXPORT void _ZN2at6native17resize_bytes_cudaEPN3c1011StorageImplEm(void* storage, size_t bytes) {
  const void* caller = __builtin_return_address(0);
  const int64_t size = static_cast<int64_t>(bytes);
  constexpr int8_t kNoType = -1;  // proto/trace.proto, Layout
  FactoryScope scope(&thread_scopes.factory, Contiguous({&size, 1}, kNoType));
  using Resize = void(void*, size_t);
  Real<Resize>(HookId::kResizeBytes, caller)(storage, bytes);
}
