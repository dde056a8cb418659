#include "interpose/hooks/native_callers.h"

#include "interpose/hooks/unwind.h"
#include "interpose/record/library_map.h"

namespace oomtrace {
namespace {

// The allocator takes about five of them; the operator that asks is among the next ten.
constexpr uint32_t kMostCallers = 20;
constexpr int kMostSteps = 40;

}  // namespace

uint32_t FindNativeCallers(Recorder& recorder, const HookFrame& hook) {
  const auto frame = reinterpret_cast<uintptr_t>(hook.frame);
  UnwindState state;
  state.pc = reinterpret_cast<uintptr_t>(hook.caller);
  state.stack_pointer = frame + 2 * sizeof(uintptr_t);
  if (!CopyReadable(&state.frame_pointer, frame, sizeof state.frame_pointer)) return 0;
  CodePlace places[kMostCallers];
  uint32_t count = 0;
  for (int step = 0; step < kMostSteps && count < kMostCallers; ++step) {
    const CodeFound code = recorder.libraries().FindCode(state.pc, recorder.facts());
    if (code.place.library == 0 || code.interpreter) break;
    places[count++] = code.place;
    const uintptr_t header = FindEhFrameHeader(code.base);
    if (header == 0 || !UnwindStep(header, &state)) break;
  }
  return count > 0 ? recorder.facts().NativeCallers(places, count) : 0;
}

}  // namespace oomtrace
