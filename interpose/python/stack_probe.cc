// The walk of the interpreter's frames in a library that any Python can load: for the tests of the versions of Python,
// and for the benchmark. Not a part of the recorder.
#include <chrono>
#include <cstdint>
#include <cstring>

#include "interpose/python/code_lives.h"
#include "interpose/python/frame_walk.h"
#include "interpose/python/py_api.h"

#define PROBE_EXPORT extern "C" __attribute__((visibility("default")))

using namespace oomtrace;

namespace {

constexpr uint32_t kMost = 64;
constexpr char kEndOfField = '\x1f', kEndOfFrame = '\x1e';

const FrameLayout* Layout() {
  const PyApi* python = Python();
  return python != nullptr ? FrameLayoutOf(python->Py_GetVersion(), PythonData("_PyRuntime")) : nullptr;
}

const void* Thread() { return Python()->PyGILState_GetThisThreadState(); }

size_t Append(char* buffer, size_t size, uint32_t number) {
  char digits[16];
  size_t count = 0;
  do digits[count++] = static_cast<char>('0' + number % 10);
  while ((number /= 10) != 0);
  while (count > 0) buffer[size++] = digits[--count];
  return size;
}

double NanosecondsSince(std::chrono::steady_clock::time_point begin, int iterations) {
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count() / iterations;
}

}  // namespace

// The calling thread's stack as text, a frame "file US function US line RS", innermost first; -1 where the layout of
// this interpreter is not known. Works without the GIL. Every code object on it counts as named.
PROBE_EXPORT int64_t probe_stack(char* buffer, size_t capacity) {
  const FrameLayout* layout = Layout();
  if (layout == nullptr) return -1;
  RawFrame frames[kMost];
  bool truncated;
  const uint32_t count = ReadFrames(*layout, Thread(), frames, kMost, &truncated);
  size_t size = 0;
  constexpr size_t kNumber = 16;
  for (uint32_t i = 0; i < count && size + kNumber < capacity; ++i) {
    NoteNamed(frames[i].code);
    size += FrameFile(*layout, frames[i], buffer + size, capacity - size - kNumber);
    buffer[size++] = kEndOfField;
    size += FrameFunction(*layout, frames[i], buffer + size, capacity - size - kNumber);
    buffer[size++] = kEndOfField;
    auto* code = reinterpret_cast<PyObject*>(const_cast<uint8_t*>(frames[i].code));
    const int line = Python()->PyCode_Addr2Line(code, frames[i].instruction);
    size = Append(buffer, size, line > 0 ? static_cast<uint32_t>(line) : 0);
    buffer[size++] = kEndOfFrame;
  }
  return static_cast<int64_t>(size);
}

// What the recorder knows the stack by.
PROBE_EXPORT uint64_t probe_hash() {
  const FrameLayout* layout = Layout();
  RawStack stack;
  return layout != nullptr && WalkFrames(*layout, Thread(), nullptr, &stack) ? stack.hash : 0;
}

PROBE_EXPORT int probe_watch() { return WatchCode(PythonData("PyCode_Type")) ? 1 : 0; }

// Nanoseconds of one walk, the least of several rounds.
PROBE_EXPORT double probe_walk_ns(int iterations) {
  const FrameLayout* layout = Layout();
  if (layout == nullptr) return -1;
  double least = -1;
  for (int round = 0; round < 20; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < iterations; ++i) {
      RawStack stack;
      WalkFrames(*layout, Thread(), nullptr, &stack);
      asm volatile("" ::"r"(stack.hash) : "memory");
    }
    const double time = NanosecondsSince(begin, iterations);
    if (least < 0 || time < least) least = time;
  }
  return least;
}

// The same through the interpreter's functions: a frame object, a code object and an instruction for each frame. With
// the GIL. -1 where they do not exist (before Python 3.11).
PROBE_EXPORT double probe_api_walk_ns(int iterations) {
  using OfThread = void*(void*);
  using OfFrame = void*(void*);
  using Number = int(void*);
  auto* innermost = reinterpret_cast<OfThread*>(PythonData("PyThreadState_GetFrame"));
  auto* back = reinterpret_cast<OfFrame*>(PythonData("PyFrame_GetBack"));
  auto* code_of = reinterpret_cast<OfFrame*>(PythonData("PyFrame_GetCode"));
  auto* instruction = reinterpret_cast<Number*>(PythonData("PyFrame_GetLasti"));
  if (innermost == nullptr || back == nullptr || code_of == nullptr || instruction == nullptr) return -1;
  const auto release = [](void* object) { Python()->Py_DecRef(static_cast<PyObject*>(object)); };
  double least = -1;
  for (int round = 0; round < 20; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < iterations; ++i) {
      uint64_t hash = 0;
      for (void* frame = innermost(const_cast<void*>(Thread())); frame != nullptr;) {
        void* code = code_of(frame);
        hash = hash * 31 + reinterpret_cast<uintptr_t>(code) + static_cast<uint64_t>(instruction(frame));
        release(code);
        void* caller = back(frame);
        release(frame);
        frame = caller;
      }
      asm volatile("" ::"r"(hash) : "memory");
    }
    const double time = NanosecondsSince(begin, iterations);
    if (least < 0 || time < least) least = time;
  }
  return least;
}
