#include "interpose/hooks/forward_stacks.h"

#include <atomic>
#include <cstring>

#include "interpose/hooks/real.h"
#include "interpose/record/hash.h"

namespace oomtrace {
namespace {

constexpr size_t kNodes = 1 << 16;

// torch/csrc/autograd/function.h: sequence_nr_, topological_nr_, has_parent_, thread_id_, in this order since
// torch 2.0, after the virtual table and what the node's smart pointer needs: a weak_ptr (std::shared_ptr) or two
// counters (c10::intrusive_ptr, from 2.13).
constexpr int32_t kSequenceShared = 24, kSequenceIntrusive = 16, kThreadAfterSequence = 24;
constexpr char kSharedNode[] =
    "_ZN5torch8autograd6Engine23execute_with_graph_taskERKSt10shared_ptrINS0_9GraphTaskEES2_INS0_4NodeEEONS0_"
    "11InputBufferE";
constexpr char kIntrusiveNode[] =
    "_ZN5torch8autograd6Engine23execute_with_graph_taskERKSt10shared_ptrINS0_9GraphTaskEEN3c1013intrusive_ptrINS0_"
    "4NodeENS7_6detail34intrusive_target_default_null_typeIS9_EEEEONS0_11InputBufferE";

using CurrentThreadId = uint64_t();

std::atomic<int32_t> sequence_offset{0};  // 0: not known
std::atomic<CurrentThreadId*> current_thread_id{nullptr};

// What tells one node's entry from another's above, its stack below. Zero: nobody's.
std::atomic<uint64_t> entries[kNodes];

std::atomic<uint64_t>& EntryOf(uint64_t sequence, uint64_t thread) {
  return entries[(sequence + thread * 0x9e3779b1u) & (kNodes - 1)];
}

// A forked child has a recorder of its own, and the stacks of its parent mean nothing in its trace.
uint64_t Mark(const Recorder& recorder, uint64_t sequence, uint64_t thread) {
  return Mix(sequence ^ thread << 48, reinterpret_cast<uintptr_t>(&recorder)) & ~uint64_t{0xffffffff};
}

uint64_t Load(const void* object, int32_t offset) {
  uint64_t value;
  memcpy(&value, static_cast<const uint8_t*>(object) + offset, sizeof(value));
  return value;
}

}  // namespace

void ResolveForwardStacks() {
  current_thread_id =
      reinterpret_cast<CurrentThreadId*>(FindIn(HookLibrary::kTorchCpu, "_ZN2at14RecordFunction15currentThreadIdEv"));
  if (current_thread_id.load() == nullptr) return;
  if (FindIn(HookLibrary::kTorchCpu, kIntrusiveNode) != nullptr) {
    sequence_offset = kSequenceIntrusive;
  } else if (FindIn(HookLibrary::kTorchCpu, kSharedNode) != nullptr) {
    sequence_offset = kSequenceShared;
  }
}

[[gnu::hot]] void NoteForward(const Recorder& recorder, uint64_t sequence, uint32_t stack) {
  if (stack == 0 || sequence_offset.load(std::memory_order_relaxed) == 0) return;
  const uint64_t thread = current_thread_id.load(std::memory_order_relaxed)();
  EntryOf(sequence, thread).store(Mark(recorder, sequence, thread) | stack, std::memory_order_relaxed);
}

[[gnu::hot]] uint32_t ForwardStackOf(const Recorder& recorder, const void* node) {
  const int32_t offset = sequence_offset.load(std::memory_order_relaxed);
  if (offset == 0) return 0;
  const uint64_t sequence = Load(node, offset), thread = Load(node, offset + kThreadAfterSequence);
  const uint64_t entry = EntryOf(sequence, thread).load(std::memory_order_relaxed);
  const uint64_t mark = Mark(recorder, sequence, thread);
  return (entry & ~uint64_t{0xffffffff}) == mark ? static_cast<uint32_t>(entry) : 0;
}

}  // namespace oomtrace
