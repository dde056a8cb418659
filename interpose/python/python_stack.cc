#include "interpose/python/python_stack.h"

#include <atomic>

#include "interpose/hooks/unwind.h"
#include "interpose/python/code_lives.h"
#include "interpose/python/py_api.h"
#include "interpose/record/hash.h"
#include "interpose/record/recent_table.h"
#include "interpose/record/settings.h"

namespace oomtrace {

constinit std::atomic<const FrameLayout*> trusted_layout{nullptr};

namespace {

std::atomic<const void*> module_call{nullptr};
std::atomic<bool> decided{false};  // whether stacks are on has been said

// From what the walk sees to what the trace calls it. The facts know frames and stacks by what they say, so that what
// is generated anew in every step of a training is written once.
RecentTable<1 << 14> recent_frames;
RecentTable<1 << 15> recent_stacks;

uint64_t Salted(const Recorder& recorder, uint64_t key) { return Mix(key, reinterpret_cast<uintptr_t>(&recorder)); }

uint32_t NameFrame(Facts& facts, const FrameLayout& layout, const RawFrame& frame) {
  char file[1024], function[512];
  const size_t file_size = FrameFile(layout, frame, file, sizeof(file));
  const size_t function_size = FrameFunction(layout, frame, function, sizeof(function));
  auto* code = reinterpret_cast<PyObject*>(const_cast<uint8_t*>(frame.code));
  const int found = Python()->PyCode_Addr2Line(code, frame.instruction);
  const uint32_t line = found > 0 ? static_cast<uint32_t>(found) : 0;
  const uint64_t hash = HashBytes(file, file_size, HashBytes(function, function_size, line));
  const uint32_t known = facts.FindFrame(hash);
  return known != 0 ? known : facts.AddFrame(hash, {file, file_size}, {function, function_size}, line);
}

uint32_t InternFrame(Recorder& recorder, const FrameLayout& layout, const RawFrame& frame) {
  const uint64_t place = static_cast<uint64_t>(LifeOf(frame.code)) << 32 | static_cast<uint32_t>(frame.instruction);
  const uint64_t key = Salted(recorder, Mix(reinterpret_cast<uintptr_t>(frame.code), place));
  if (const uint32_t known = recent_frames.Find(key)) return known;
  NoteNamed(frame.code);
  const uint32_t id = NameFrame(recorder.facts(), layout, frame);
  if (id != 0) recent_frames.Insert(key, id);
  return id;
}

// Out of the hot path, so that it alone needs the stack space of a new stack.
__attribute__((noinline)) uint32_t InternStack(Recorder& recorder, const FrameLayout& layout, const RawStack& raw) {
  RawFrame frames[kMostFrames];
  uint32_t ids[kMostFrames];
  StackState stack;
  stack.frames = ids;
  stack.module = raw.module;
  stack.root_module = raw.root_module;
  const uint32_t count = ReadFrames(layout, raw.thread, frames, kMostFrames, &stack.truncated);
  if (stack.truncated)
    stack.root_module = OutermostModule(layout, raw.thread, module_call.load(std::memory_order_relaxed));
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t frame = InternFrame(recorder, layout, frames[i]);
    if (frame != 0) ids[stack.count++] = frame;
  }
  if (stack.count == 0) {
    if (count != 0) recorder.CountFailedStack();
    return 0;
  }
  const uint64_t hash = Mix(Mix(HashBytes(ids, stack.count * sizeof(*ids), 3), stack.module), stack.root_module);
  uint32_t id = recorder.facts().FindStack(hash);
  if (id == 0) id = recorder.facts().AddStack(hash, stack);
  if (id == 0) recorder.CountFailedStack();
  return id;
}

}  // namespace

[[gnu::hot]] bool WalkPythonStack(RawStack* stack) {
  const FrameLayout* layout = trusted_layout.load(std::memory_order_acquire);
  if (layout == nullptr) return false;
  const void* thread = Python()->PyGILState_GetThisThreadState();
  return thread != nullptr && WalkFrames(*layout, thread, module_call.load(std::memory_order_relaxed), stack);
}

uint32_t InternPythonStack(Recorder& recorder, const RawStack& stack) {
  const uint64_t key = Salted(recorder, stack.hash);
  if (const uint32_t known = recent_stacks.Find(key)) return known;
  const FrameLayout* layout = trusted_layout.load(std::memory_order_acquire);
  const uint32_t id = layout != nullptr ? InternStack(recorder, *layout, stack) : 0;
  if (id != 0) recent_stacks.Insert(key, id);
  return id;
}

const FrameLayout* LayoutOfInterpreter() {
  const PyApi* python = Python();
  return python != nullptr ? FrameLayoutOf(python->Py_GetVersion(), PythonData("_PyRuntime")) : nullptr;
}

void TrustFirstStack() {
  // A thread that runs no Python, or is about to, says nothing of the layout.
  constexpr int kMostLooks = 64;
  static std::atomic<int> looks{0};
  if (decided.load(std::memory_order_relaxed)) return;
  const PyApi* python = Python();
  if (python == nullptr || python->Py_IsInitialized() == 0) return;
  if (!SwitchedOn("OOMTRACE_STACKS", true)) return;
  const void* thread = python->PyGILState_GetThisThreadState();
  if (thread == nullptr || looks.fetch_add(1, std::memory_order_relaxed) >= kMostLooks) return;
  const FrameLayout* layout = LayoutOfInterpreter();
  if (layout == nullptr) return;
  const InterpreterTypes types = {PythonData("PyCode_Type"), PythonData("PyUnicode_Type")};
  if (!LeadsToCode(*layout, thread, types, CopyReadable) || !WatchCode(PythonData("PyCode_Type"))) return;
  if (!decided.exchange(true)) trusted_layout.store(layout, std::memory_order_release);
}

void EnablePythonStacks(bool enable) {
  decided.store(true);
  trusted_layout.store(enable ? LayoutOfInterpreter() : nullptr, std::memory_order_release);
}

void SetModuleCall(const void* code) { module_call.store(code, std::memory_order_relaxed); }

}  // namespace oomtrace
