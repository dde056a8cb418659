#include "interpose/python/frame_walk.h"

#include "interpose/python/code_lives.h"
#include "interpose/python/raw_memory.h"
#include "interpose/record/hash.h"

namespace oomtrace {
namespace {

constexpr int kDeepest = 1024;            // frames looked at for the outermost module
constexpr uint8_t kOwnedByGenerator = 1;  // _PyInterpreterFrame.owner, CPython 3.11 and later
constexpr uint8_t kOwnedByC = 3;  // and above: entry frames of the C stack, which run no Python code (3.12 and later)

const uint8_t* Untagged(const FrameLayout& layout, const uint8_t* reference) {
  return reinterpret_cast<const uint8_t*>(reinterpret_cast<uintptr_t>(reference) & ~layout.tag_mask);
}

const uint8_t* InnermostFrame(const FrameLayout& layout, const void* thread) {
  const uint8_t* frame = Pointer(thread, layout.thread_frame);
  if (layout.cframe >= 0 && frame != nullptr) frame = Pointer(frame, layout.cframe);
  return frame;
}

// The place that the frame is at: equal for two frames of one code object if and only if the place is the same.
uint64_t Place(const FrameLayout& layout, const uint8_t* frame) {
  return layout.instruction_unit != 0 ? Load<uint32_t>(frame, layout.instruction)
                                      : Load<uint64_t>(frame, layout.instruction);
}

uint64_t Rotated(uint64_t value) { return value << 5 | value >> 59; }

// Frames are mixed independently of each other and then joined by what takes least time one after another, so that the
// processor follows the chain of frames at the speed of its loads.
template <bool kAddressesReused>
uint64_t HashFrames(const FrameLayout& layout, const void* thread, const void* module_call, RawStack* stack) {
  // In registers: the compiler cannot know that nothing here changes the layout.
  const int32_t previous = layout.previous, code_offset = layout.code;
  uint64_t hash = 0;
  int depth = 0;
  for (const uint8_t* frame = InnermostFrame(layout, thread); frame != nullptr && depth < kMostHashed; ++depth) {
    const uint8_t* code = Untagged(layout, Pointer(frame, code_offset));
    if (code == module_call) [[unlikely]] {
      stack->root_module = reinterpret_cast<uint64_t>(Untagged(layout, Pointer(frame, layout.locals)));
      if (stack->module == 0) stack->module = stack->root_module;
    }
    uint64_t identity = reinterpret_cast<uintptr_t>(code);
    if constexpr (kAddressesReused) identity ^= static_cast<uint64_t>(LifeOf(code)) << 48;
    hash = Rotated(hash) + Mix(identity, Place(layout, frame));
    frame = Pointer(frame, previous);
  }
  return hash;
}

// False for frames that are not at a statement yet, or never are.
bool ReadFrame(const FrameLayout& layout, const uint8_t* frame, RawFrame* raw) {
  const uint8_t owner = layout.owner >= 0 ? frame[layout.owner] : 0;
  if (owner >= kOwnedByC) return false;
  const uint8_t* code = Untagged(layout, Pointer(frame, layout.code));
  if (code == nullptr) return false;
  if (layout.instruction_unit != 0) {
    raw->instruction = Load<int32_t>(frame, layout.instruction) * layout.instruction_unit;
  } else {
    raw->instruction = static_cast<int32_t>(Pointer(frame, layout.instruction) - (code + layout.bytecode));
    if (layout.first_traceable >= 0 && owner != kOwnedByGenerator &&
        raw->instruction < Load<int32_t>(code, layout.first_traceable) * 2) {
      return false;
    }
  }
  raw->code = code;
  raw->locals = frame + layout.locals;
  return true;
}

}  // namespace

[[gnu::hot]] bool WalkFrames(const FrameLayout& layout, const void* thread, const void* module_call, RawStack* stack) {
  stack->thread = thread;
  stack->module = stack->root_module = 0;
  const uint64_t hash = AnyNamedCodeDied() ? HashFrames<true>(layout, thread, module_call, stack)
                                           : HashFrames<false>(layout, thread, module_call, stack);
  stack->hash = Mix(Mix(hash, stack->module), stack->root_module);
  return hash != 0;
}

uint32_t ReadFrames(const FrameLayout& layout, const void* thread, RawFrame* frames, uint32_t most, bool* truncated) {
  *truncated = false;
  uint32_t count = 0;
  for (const uint8_t* frame = InnermostFrame(layout, thread); frame != nullptr;
       frame = Pointer(frame, layout.previous)) {
    RawFrame raw;
    if (!ReadFrame(layout, frame, &raw)) continue;
    if (count == most) {
      *truncated = true;
      break;
    }
    frames[count++] = raw;
  }
  return count;
}

uint64_t OutermostModule(const FrameLayout& layout, const void* thread, const void* module_call) {
  if (module_call == nullptr) return 0;
  uint64_t module = 0;
  int depth = 0;
  for (const uint8_t* frame = InnermostFrame(layout, thread); frame != nullptr && depth < kDeepest;
       frame = Pointer(frame, layout.previous), ++depth) {
    if (Untagged(layout, Pointer(frame, layout.code)) == module_call)
      module = reinterpret_cast<uint64_t>(Untagged(layout, Pointer(frame, layout.locals)));
  }
  return module;
}

int VariableCount(const FrameLayout& layout, const RawFrame& frame) {
  return Load<int32_t>(frame.code, layout.variables);
}

uint64_t FrameLocal(const FrameLayout& layout, const RawFrame& frame, int index) {
  return reinterpret_cast<uint64_t>(Untagged(layout, Pointer(frame.locals, index * 8)));
}

}  // namespace oomtrace
