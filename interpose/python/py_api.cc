#include "interpose/python/py_api.h"

#include <dlfcn.h>

#include <atomic>

namespace oomtrace {
namespace {

PyApi functions;
enum class Lookup : int { kNotYet, kRunning, kFound };
std::atomic<Lookup> lookup{Lookup::kNotYet};

bool Find() {
#define OOMTRACE_FIND(result, name, parameters)                                        \
  functions.name = reinterpret_cast<result(*) parameters>(dlsym(RTLD_DEFAULT, #name)); \
  if (functions.name == nullptr) return false;
  OOMTRACE_PYTHON_FUNCTIONS(OOMTRACE_FIND)
#undef OOMTRACE_FIND
  return true;
}

}  // namespace

void* PythonData(const char* name) { return dlsym(RTLD_DEFAULT, name); }

// Out of line: a lookup that is over takes no locked instruction.
__attribute__((noinline)) static const PyApi* LookUp(Lookup state) {
  if (state == Lookup::kRunning || !lookup.compare_exchange_strong(state, Lookup::kRunning)) return nullptr;
  const bool found = Find();
  lookup.store(found ? Lookup::kFound : Lookup::kNotYet, std::memory_order_release);
  return found ? &functions : nullptr;
}

const PyApi* Python() {
  const Lookup state = lookup.load(std::memory_order_acquire);
  return state == Lookup::kFound ? &functions : LookUp(state);
}

}  // namespace oomtrace
