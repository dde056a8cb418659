// libFuzzer's entry: CMakeLists.txt says how to run it.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/consume.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  oomtrace::fuzz::Consume({reinterpret_cast<const char*>(data), size});
  return 0;
}
