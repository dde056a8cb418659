#include "interpose/python/debug_offsets.h"

#include <cstring>

namespace oomtrace {
namespace {

constexpr char kCookie[] = "xdebugpy";

// Where the fields stand, counted in 64-bit words from the cookie.
struct Words {
  int current_frame;      // thread_state
  int interpreter_frame;  // size, previous, executable, instr_ptr, localsplus, owner
  int code_object;        // size, filename, name, qualname, linetable, firstlineno, argcount, names, kinds, code
};
constexpr int kVersionWord = 1, kFreeThreadedWord = 2;
// cookie, version, free_threaded; runtime_state of 3 words; interpreter_state of 13 or 16; thread_state of 9, whose
// fifth is current_frame; interpreter_frame of 6 or 8.
constexpr Words kPython313 = {23, 28, 34};
constexpr Words kPython314 = {26, 31, 39};

// More than any of these structures is large, and less than what a wrong word would hold.
constexpr uint64_t kLargestOffset = 4096;

class Offsets {
 public:
  explicit Offsets(const void* runtime) : runtime_(static_cast<const uint8_t*>(runtime)) {}

  uint64_t Word(int index) const {
    uint64_t value;
    memcpy(&value, runtime_ + index * sizeof(value), sizeof(value));
    return value;
  }
  int32_t Take(int index) {
    const uint64_t value = Word(index);
    valid_ = valid_ && value < kLargestOffset;
    return static_cast<int32_t>(value);
  }
  bool valid() const { return valid_; }

 private:
  const uint8_t* runtime_;
  bool valid_ = true;
};

}  // namespace

bool ApplyDebugOffsets(const void* runtime, int minor, FrameLayout* layout) {
  if (runtime == nullptr || memcmp(runtime, kCookie, 8) != 0) return false;
  Offsets offsets(runtime);
  // PY_VERSION_HEX: major, minor, micro, level and serial, from the top.
  if (offsets.Word(kVersionWord) >> 16 != static_cast<uint64_t>(0x300 | minor)) return false;
  if (offsets.Word(kFreeThreadedWord) != 0) return false;
  const Words& words = minor == 13 ? kPython313 : kPython314;
  FrameLayout said = *layout;
  said.thread_frame = offsets.Take(words.current_frame);
  said.previous = offsets.Take(words.interpreter_frame + 1);
  said.code = offsets.Take(words.interpreter_frame + 2);
  said.instruction = offsets.Take(words.interpreter_frame + 3);
  said.locals = offsets.Take(words.interpreter_frame + 4);
  said.owner = offsets.Take(words.interpreter_frame + 5);
  said.filename = offsets.Take(words.code_object + 1);
  said.name = offsets.Take(words.code_object + 3);
  said.first_line = offsets.Take(words.code_object + 5);
  said.bytecode = offsets.Take(words.code_object + 9);
  if (!offsets.valid()) return false;
  *layout = said;
  return true;
}

}  // namespace oomtrace
