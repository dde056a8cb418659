// PyTorch's exceptions, as they are made: c10::OutOfMemoryError's constructor runs that of c10::Error, in libc10. Other
// errors pass with one look at where they come from. (__cxa_throw, which would show the same, belongs to whichever C++
// runtime a library was built with: a process may hold several, and to call the wrong one ends it.)
#include <string.h>

#include <string_view>

#include "interpose/hooks/real.h"
#include "interpose/hooks/refusals.h"
#include "interpose/hooks/torch_types.h"

using namespace oomtrace;

namespace {

struct SourceLocation {  // c10::SourceLocation: passed in memory
  const char* function;
  const char* file;
  uint32_t line;
};
// std::string of either ABI, handed over by address: its first word points to the text, which ends with a 0.
struct String {
  const char* text;
};
using Construct = void(void* error, String* message, SourceLocation where);

bool Contains(const char* text, const char* part) { return text != nullptr && strstr(text, part) != nullptr; }

void Look(const String* message, const SourceLocation& where) {
  // CUDACachingAllocator.cpp, CUDAMallocAsyncAllocator.cpp.
  if (message == nullptr || !Contains(where.file, "Allocator.cpp")) return;
  // The second is all that CUDAMallocAsyncAllocator says up to 2.4, and the beginning of what it says later.
  if (Contains(message->text, "out of memory") || Contains(message->text, "Allocation on device"))
    RecordRefusalException(message->text);
}

}  // namespace

OOMTRACE_EXPORT void _ZN3c105ErrorC2ENS_14SourceLocationENSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE(
    void* error, String* message, SourceLocation where) {
  Look(message, where);
  Real<Construct>(HookId::kError, __builtin_return_address(0))(error, message, where);
}

OOMTRACE_EXPORT void _ZN3c105ErrorC2ENS_14SourceLocationESs(void* error, String* message, SourceLocation where) {
  Look(message, where);
  Real<Construct>(HookId::kErrorOld, __builtin_return_address(0))(error, message, where);
}
