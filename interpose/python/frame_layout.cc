#include "interpose/python/frame_layout.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "interpose/python/debug_offsets.h"

namespace oomtrace {
namespace {

// Include/cpython/pystate.h, frameobject.h, code.h and unicodeobject.h of CPython 3.9.
constexpr FrameLayout kPython39 = {
    .thread_frame = 24,
    .cframe = -1,
    .previous = 24,
    .code = 32,
    .instruction = 104,
    .instruction_unit = 1,
    .owner = -1,
    .locals = 360,
    .tag_mask = 0,
    .filename = 104,
    .name = 112,
    .first_line = 40,
    .bytecode = 48,
    .variables = 28,
    .first_traceable = -1,
    .ascii_characters = 48,
    .compact_characters = 72,
};

// The same files of CPython 3.10.
constexpr FrameLayout kPython310 = {
    .thread_frame = 24,
    .cframe = -1,
    .previous = 24,
    .code = 32,
    .instruction = 96,
    .instruction_unit = 2,
    .owner = -1,
    .locals = 352,
    .tag_mask = 0,
    .filename = 104,
    .name = 112,
    .first_line = 40,
    .bytecode = 48,
    .variables = 28,
    .first_traceable = -1,
    .ascii_characters = 48,
    .compact_characters = 72,
};

// Include/internal/pycore_frame.h and Include/cpython/{pystate,code,unicodeobject}.h of CPython 3.11.
constexpr FrameLayout kPython311 = {
    .thread_frame = 56,
    .cframe = 8,
    .previous = 48,
    .code = 32,
    .instruction = 56,
    .instruction_unit = 0,
    .owner = 69,
    .locals = 72,
    .tag_mask = 0,
    .filename = 112,
    .name = 128,
    .first_line = 72,
    .bytecode = 184,
    .variables = 76,
    .first_traceable = 168,
    .ascii_characters = 48,
    .compact_characters = 72,
};

// The same files of CPython 3.12.
constexpr FrameLayout kPython312 = {
    .thread_frame = 56,
    .cframe = 0,
    .previous = 8,
    .code = 0,
    .instruction = 56,
    .instruction_unit = 0,
    .owner = 70,
    .locals = 72,
    .tag_mask = 0,
    .filename = 112,
    .name = 128,
    .first_line = 68,
    .bytecode = 192,
    .variables = 72,
    .first_traceable = 176,
    .ascii_characters = 40,
    .compact_characters = 56,
};

// The same files of CPython 3.13.
constexpr FrameLayout kPython313 = {
    .thread_frame = 72,
    .cframe = -1,
    .previous = 8,
    .code = 0,
    .instruction = 56,
    .instruction_unit = 0,
    .owner = 70,
    .locals = 72,
    .tag_mask = 0,
    .filename = 112,
    .name = 128,
    .first_line = 68,
    .bytecode = 200,
    .variables = 72,
    .first_traceable = 184,
    .ascii_characters = 40,
    .compact_characters = 56,
};

// The same files of CPython 3.14, where a frame's references are tagged (Include/internal/pycore_stackref.h).
constexpr FrameLayout kPython314 = {
    .thread_frame = 72,
    .cframe = -1,
    .previous = 8,
    .code = 0,
    .instruction = 56,
    .instruction_unit = 0,
    .owner = 74,
    .locals = 80,
    .tag_mask = 3,
    .filename = 112,
    .name = 128,
    .first_line = 68,
    .bytecode = 208,
    .variables = 72,
    .first_traceable = 192,
    .ascii_characters = 40,
    .compact_characters = 56,
};

const FrameLayout* TableOf(int minor) {
  switch (minor) {
    case 9:
      return &kPython39;
    case 10:
      return &kPython310;
    case 11:
      return &kPython311;
    case 12:
      return &kPython312;
    case 13:
      return &kPython313;
    case 14:
      return &kPython314;
    default:
      return nullptr;
  }
}

// Written once, by whoever comes first; the table's numbers are the same, or nearly.
FrameLayout from_interpreter;
std::atomic<bool> being_written{false};
std::atomic<bool> asked_interpreter{false};

}  // namespace

const FrameLayout* FrameLayoutOf(const char* version, const void* runtime) {
  if (version[0] != '3' || version[1] != '.') return nullptr;
  if (strstr(version, "free-threading") != nullptr) return nullptr;  // objects with other headers
  if (asked_interpreter.load(std::memory_order_acquire)) return &from_interpreter;
  const int minor = atoi(version + 2);
  const FrameLayout* table = TableOf(minor);
  constexpr int kFirstWithOffsets = 13;
  if (table == nullptr || minor < kFirstWithOffsets) return table;
  FrameLayout told = *table;
  if (!ApplyDebugOffsets(runtime, minor, &told) || being_written.exchange(true)) return table;
  from_interpreter = told;
  asked_interpreter.store(true, std::memory_order_release);
  return &from_interpreter;
}

}  // namespace oomtrace
