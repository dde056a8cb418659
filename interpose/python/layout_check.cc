// Whether a layout is this interpreter's, told from a thread's frames without trusting any of them.
#include "interpose/python/frame_walk.h"

namespace oomtrace {
namespace {

constexpr int kTypeOffset = 8;    // PyObject.ob_type, behind the reference count, in every CPython to 3.14 with the GIL
constexpr int kDeepest = 4096;    // frames; more than sys.getrecursionlimit() by default
constexpr uint8_t kOwnedByC = 3;  // as in frame_walk.cc
constexpr int32_t kLongest = 1 << 24;  // bytes of one function's code

class Checker {
 public:
  Checker(const FrameLayout& layout, const InterpreterTypes& types, ReadMemory* read)
      : layout_(layout), types_(types), read_(read) {}

  bool Check(const void* thread) {
    uintptr_t frame;
    if (!Read(reinterpret_cast<uintptr_t>(thread), layout_.thread_frame, &frame)) return false;
    if (layout_.cframe >= 0 && (frame == 0 || !Read(frame, layout_.cframe, &frame))) return false;
    int of_python = 0;
    for (int depth = 0; frame != 0; ++depth) {
      if (depth == kDeepest || !CheckFrame(frame, &of_python) || !Read(frame, layout_.previous, &frame)) return false;
    }
    return of_python > 0;
  }

 private:
  template <typename T>
  bool Read(uintptr_t base, int32_t offset, T* value) const {
    return read_(value, base + static_cast<uintptr_t>(offset), sizeof(T));
  }

  bool IsOf(uintptr_t object, const void* type) const {
    uintptr_t of;
    return object != 0 && type != nullptr && Read(object, kTypeOffset, &of) && of == reinterpret_cast<uintptr_t>(type);
  }

  bool CheckFrame(uintptr_t frame, int* of_python) const {
    uint8_t owner = 0;
    if (layout_.owner >= 0 && !Read(frame, layout_.owner, &owner)) return false;
    if (owner >= kOwnedByC) return true;  // an entry from C: it has no code of its own
    uintptr_t code, file, name;
    if (!Read(frame, layout_.code, &code)) return false;
    code &= ~layout_.tag_mask;
    if (!IsOf(code, types_.code) || !Read(code, layout_.filename, &file) || !Read(code, layout_.name, &name))
      return false;
    if (!IsOf(file, types_.string) || !IsOf(name, types_.string)) return false;
    ++*of_python;
    return CheckPlace(frame, code);
  }

  bool CheckPlace(uintptr_t frame, uintptr_t code) const {
    if (layout_.instruction_unit != 0) {
      int32_t index;
      return Read(frame, layout_.instruction, &index) && index >= -1 && index < kLongest;
    }
    uintptr_t at;
    if (!Read(frame, layout_.instruction, &at)) return false;
    const auto place = static_cast<int64_t>(at - (code + static_cast<uintptr_t>(layout_.bytecode)));
    return place >= -2 && place < kLongest;  // one instruction before the first: it has not begun
  }

  const FrameLayout& layout_;
  const InterpreterTypes& types_;
  ReadMemory* read_;
};

}  // namespace

bool LeadsToCode(const FrameLayout& layout, const void* thread, const InterpreterTypes& types, ReadMemory* read) {
  return Checker(layout, types, read).Check(thread);
}

}  // namespace oomtrace
