#include "interpose/python/python_stack.h"

#include <atomic>

#include "interpose/python/py_api.h"

namespace oomtrace {
namespace {

std::atomic<const FrameLayout*> trusted_layout{nullptr};
std::atomic<const void*> module_call{nullptr};

uint32_t InternFrame(Facts& facts, const FrameLayout& layout, const RawFrame& frame) {
  if (const uint32_t known = facts.FindFrame(frame.hash)) return known;
  char file[1024], function[512];
  const size_t file_size = FrameFile(layout, frame, file, sizeof(file));
  const size_t function_size = FrameFunction(layout, frame, function, sizeof(function));
  auto* code = reinterpret_cast<PyObject*>(const_cast<uint8_t*>(frame.code));
  const int line = Python()->PyCode_Addr2Line(code, frame.instruction);
  return facts.AddFrame(frame.hash, {file, file_size}, {function, function_size},
                        line > 0 ? static_cast<uint32_t>(line) : 0);
}

// Out of the hot path, so that it alone needs the stack space of a new stack.
__attribute__((noinline)) uint32_t InternStack(Facts& facts, const FrameLayout& layout, const RawStack& raw) {
  uint32_t frames[kMostFrames];
  StackState stack;
  stack.frames = frames;
  stack.module = raw.module;
  stack.root_module = raw.root_module;
  stack.truncated = raw.truncated;
  for (uint32_t i = 0; i < raw.count; ++i) {
    const uint32_t frame = InternFrame(facts, layout, raw.frames[i]);
    if (frame != 0) frames[stack.count++] = frame;
  }
  return stack.count > 0 ? facts.AddStack(raw.hash, stack) : 0;
}

}  // namespace

bool WalkPythonStack(RawStack* stack) {
  const FrameLayout* layout = trusted_layout.load(std::memory_order_acquire);
  if (layout == nullptr) return false;
  const void* thread = Python()->PyGILState_GetThisThreadState();
  if (thread == nullptr) return false;
  WalkFrames(*layout, thread, module_call.load(std::memory_order_relaxed), stack);
  return stack->count != 0;
}

uint32_t InternPythonStack(Recorder& recorder, const RawStack& stack) {
  if (const uint32_t known = recorder.facts().FindStack(stack.hash)) return known;
  const FrameLayout* layout = trusted_layout.load(std::memory_order_acquire);
  const uint32_t id = layout != nullptr ? InternStack(recorder.facts(), *layout, stack) : 0;
  if (id == 0) recorder.CountFailedStack();
  return id;
}

bool WalkForTest(RawStack* stack, const FrameLayout** layout) {
  const PyApi* python = Python();
  if (python == nullptr) return false;
  *layout = FrameLayoutOf(python->Py_GetVersion());
  const void* thread = python->PyGILState_GetThisThreadState();
  if (*layout == nullptr || thread == nullptr) return false;
  WalkFrames(**layout, thread, module_call.load(std::memory_order_relaxed), stack);
  return true;
}

bool PythonStacksEnabled() { return trusted_layout.load(std::memory_order_relaxed) != nullptr; }

void EnablePythonStacks(bool enable) {
  trusted_layout.store(enable ? FrameLayoutOf(Python()->Py_GetVersion()) : nullptr, std::memory_order_release);
}

void SetModuleCall(const void* code) { module_call.store(code, std::memory_order_relaxed); }

}  // namespace oomtrace
