// libFuzzer's entry: CMakeLists.txt says how to run it.
#include <cstddef>
#include <cstdint>

#include "analyzer/explain/render.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto judgements = oomtrace::Judge({reinterpret_cast<const char*>(data), size});
  oomtrace::RenderJudgements(judgements, false, 80);
  oomtrace::RenderJudgementsJson(judgements);
  return 0;
}
