#include "interpose/record/live_set.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "interpose/record/hash.h"
#include "interpose/record/memory.h"
#include "interpose/record/wire.h"

namespace oomtrace {
namespace {

constexpr size_t kFewestSlots = 1 << 12;

// Whether the call gives out or takes back an address that is one allocation: its free ends it, and nothing else does.
bool IsPlain(const ChunkEvent& event) {
  constexpr uint32_t kMemoryKind = 11;
  switch (static_cast<wire::MemoryKind>(event.value[kMemoryKind])) {
    case wire::MemoryKind::kDevice:
    case wire::MemoryKind::kManaged:
    case wire::MemoryKind::kHost:
    case wire::MemoryKind::kRegistered:
    case wire::MemoryKind::kArray:
    case wire::MemoryKind::kPooled:
    case wire::MemoryKind::kGraph:
    case wire::MemoryKind::kImported:
      return true;
    default:
      return false;
  }
}

// Whether it takes memory of the device itself.
bool TakesDeviceMemory(const ChunkEvent& event) {
  constexpr uint32_t kMemoryKind = 11;
  const auto kind = static_cast<wire::MemoryKind>(event.value[kMemoryKind]);
  return kind == wire::MemoryKind::kDevice || kind == wire::MemoryKind::kArray || kind == wire::MemoryKind::kPooled;
}

// The cursors of chunks that overlap in time, the one with the earliest event on top.
class CursorHeap {
 public:
  explicit CursorHeap(size_t most)
      : bytes_(most * (sizeof(EventCursor) + sizeof(void*))),
        cursors_(static_cast<EventCursor*>(MapMemory(bytes_))),
        heap_(reinterpret_cast<EventCursor**>(cursors_ + most)) {}
  ~CursorHeap() {
    if (cursors_ != nullptr) munmap(cursors_, bytes_);
  }
  CursorHeap(const CursorHeap&) = delete;
  CursorHeap& operator=(const CursorHeap&) = delete;

  bool ok() const { return cursors_ != nullptr; }
  bool empty() const { return count_ == 0; }
  EventCursor& top() { return *heap_[0]; }

  // A place for one more cursor, and its entry once it stands on an event.
  void* Place() { return cursors_ + made_++; }
  void Push(EventCursor* cursor) {
    heap_[count_++] = cursor;
    std::push_heap(heap_, heap_ + count_, Later);
  }
  void Pop() {
    std::pop_heap(heap_, heap_ + count_, Later);
    --count_;
  }
  // The top has moved on.
  void Sink() {
    for (size_t parent = 0;;) {
      size_t earliest = parent;
      for (size_t child = 2 * parent + 1; child <= 2 * parent + 2 && child < count_; ++child)
        if (heap_[earliest]->IsLaterThan(*heap_[child])) earliest = child;
      if (earliest == parent) return;
      std::swap(heap_[parent], heap_[earliest]);
      parent = earliest;
    }
  }

 private:
  static bool Later(const EventCursor* a, const EventCursor* b) { return a->IsLaterThan(*b); }

  size_t bytes_;
  EventCursor* cursors_;
  EventCursor** heap_;
  size_t made_ = 0;
  size_t count_ = 0;
};

}  // namespace

bool LiveSet::Advance(const ChunkHeader* const* chunks, size_t count, uint64_t until) {
  if (count > kMostSources) return false;
  CursorHeap heap(count + 1);
  if (!heap.ok()) return false;
  bool complete = true;
  for (size_t i = 0; i < count; ++i) {
    auto* cursor = new (heap.Place()) EventCursor(*chunks[i], &tables_[i], sites_);
    bool more = cursor->Next();
    while (more && cursor->event().ticks <= horizon_) more = cursor->Next();
    complete &= !cursor->failed();
    if (more && cursor->event().ticks <= until) heap.Push(cursor);
  }
  while (!heap.empty()) {
    EventCursor& cursor = heap.top();
    ++events_;
    complete &= Apply(cursor.event());
    if (cursor.Next() && cursor.event().ticks <= until) {
      heap.Sink();
    } else {
      complete &= !cursor.failed();
      heap.Pop();
    }
  }
  horizon_ = until;
  return complete;
}

LiveBlock* LiveSet::Find(uint64_t address, bool device_level) const {
  for (size_t i = Mix(address, device_level); slots_ != 0; ++i) {
    LiveBlock& block = blocks_[i & (slots_ - 1)];
    if (!block.used) return nullptr;
    if (block.address == address && block.device_level == device_level) return &block;
  }
  return nullptr;
}

LiveBlock* LiveSet::FindOrAdd(uint64_t address, bool device_level) {
  if (LiveBlock* known = Find(address, device_level)) return known;
  if (used_ >= slots_ / 4 * 3 && !MakeRoom()) return nullptr;
  size_t i = Mix(address, device_level);
  while (blocks_[i & (slots_ - 1)].used) ++i;
  LiveBlock& block = blocks_[i & (slots_ - 1)];
  block.used = true;
  block.address = address;
  block.device_level = device_level;
  ++used_;
  return &block;
}

// A table without the slots of the dead (over a long run an allocator uses more addresses than ever live at once), and
// twice as large where the living need it.
bool LiveSet::MakeRoom() {
  size_t live = 0;
  ForEachLive([&](const LiveBlock&) { ++live; });
  size_t slots = std::max(slots_, kFewestSlots);
  while (live >= slots / 2) slots *= 2;
  if (slots > kMostSlots) return false;
  auto* blocks = static_cast<LiveBlock*>(MapMemory(slots * sizeof(LiveBlock)));
  if (blocks == nullptr) return false;
  ForEachLive([&](const LiveBlock& block) {
    size_t slot = Mix(block.address, block.device_level);
    while (blocks[slot & (slots - 1)].used) ++slot;
    blocks[slot & (slots - 1)] = block;
  });
  if (blocks_ != nullptr) munmap(blocks_, slots_ * sizeof(LiveBlock));
  blocks_ = blocks;
  slots_ = slots;
  used_ = live;
  return true;
}

bool LiveSet::Copy(const ChunkEvent& event, LiveMessage* message) {
  if (event.rest_size > LiveMessage::kMost) return false;
  message->ticks = event.ticks;
  message->size = static_cast<uint8_t>(event.rest_size);
  memcpy(message->bytes, event.rest, event.rest_size);
  return true;
}

bool LiveSet::Note(const ChunkEvent& event, uint32_t* number) {
  if (messages_ == nullptr) messages_ = static_cast<LiveMessage*>(MapMemory(kMostMessages * sizeof(LiveMessage)));
  if (messages_ == nullptr) return false;
  if (*number == 0 && free_message_ != 0) {
    *number = free_message_;
    free_message_ = messages_[free_message_].next_free;
  }
  if (*number == 0) {
    if (message_count_ + 1 == kMostMessages) return false;
    *number = ++message_count_;
  }
  return Copy(event, &messages_[*number]);
}

void LiveSet::Drop(uint32_t* number) {
  if (*number == 0) return;
  messages_[*number].next_free = free_message_;
  free_message_ = *number;
  *number = 0;
}

void LiveSet::End(LiveBlock& block) {
  if (!block.live) return;
  if (!block.device_level) spans_.OnFree(block.device, block.bytes);
  if (block.counted) ++device_calls_[block.device].freed;
  block.counted = false;
  Drop(&block.message);
  Drop(&block.host_copy);
  block.live = false;
}

bool LiveSet::Allocate(const ChunkEvent& event) {
  const CompactEvent& alloc = event.block;
  LiveBlock* block = FindOrAdd(alloc.address, false);
  if (block == nullptr) return false;
  End(*block);  // its free is missing
  block->ticks = event.ticks;
  block->bytes = alloc.bytes;
  block->site = alloc.site;
  block->stack = alloc.stack;
  block->layout = alloc.layout;
  block->context = alloc.context;
  block->device = static_cast<uint8_t>(alloc.device);
  block->live = true;
  spans_.OnAlloc(alloc.device, event.ticks, alloc.bytes, alloc.reserved);
  return true;
}

bool LiveSet::AllocateDevice(const ChunkEvent& event) {
  constexpr uint32_t kResult = 8;
  if (event.value[kResult] != 0 || event.address == 0) return true;  // refused
  if (!IsPlain(event)) return Keep(event);
  LiveBlock* block = FindOrAdd(event.address, true);
  if (block == nullptr) return false;
  End(*block);
  constexpr uint32_t kDevice = 7;
  const uint64_t device = event.value[kDevice];
  block->ticks = event.ticks;
  block->live = true;
  block->counted = device < StepSpans::kDevices && TakesDeviceMemory(event);
  block->device = block->counted ? static_cast<uint8_t>(device) : 0;
  if (block->counted) ++device_calls_[device].made;
  return Note(event, &block->message);
}

bool LiveSet::FreeDevice(const ChunkEvent& event) {
  if (!IsPlain(event)) return Keep(event);
  Free(event.address, true);
  return true;
}

void LiveSet::Free(uint64_t address, bool device_level) {
  if (LiveBlock* block = Find(address, device_level)) End(*block);
}

// What an event says about a block that lives.
bool LiveSet::Describe(const ChunkEvent& event) {
  LiveBlock* block = Find(event.address, false);
  if (block == nullptr || !block->live) return true;
  return Note(event, event.kind == wire::kHostCopy ? &block->host_copy : &block->message);
}

bool LiveSet::Keep(const ChunkEvent& event) {
  if (kept_count_ == kMostKept) return false;
  kept_[kept_count_++] = {event.ticks, event.address, event.has_block, event.kind, event.rest_size, event.rest};
  return true;
}

bool LiveSet::Apply(const ChunkEvent& event) {
  switch (event.kind) {
    case wire::kTensorAlloc:
      return Allocate(event);
    case wire::kTensorFree:
      Free(event.block.address, false);
      return true;
    case wire::kDeviceAlloc:
      return AllocateDevice(event);
    case wire::kDeviceFree:
      return FreeDevice(event);
    case wire::kHostCopy:
    case wire::kTensorRole:
      return Describe(event);
    case wire::kPhase: {
      const auto kind = static_cast<wire::Phase>(event.value[2]);
      optimizer_seen_ |= kind == wire::Phase::kOptimizerStepEnd;
      const auto step_end = optimizer_seen_ ? wire::Phase::kOptimizerStepEnd : wire::Phase::kBackwardEnd;
      return (kind != step_end || spans_.OnStepEnd(event.ticks)) && Keep(event);
    }
    case wire::kMemoryInfo: {
      constexpr uint32_t kDevice = 7;
      const uint64_t device = event.value[kDevice];
      return device >= StepSpans::kDevices || Copy(event, &memory_info_[device]);
    }
    case wire::kOutOfMemory:
    case wire::kRefusalText:
    case wire::kPrivateSegment:
    case wire::kGpuProcesses:
    case wire::kExit:
    case wire::kThreadFailed:
    case wire::kModelMove:
      return Keep(event);
    default:
      return true;  // holders after an error that was survived
  }
}

}  // namespace oomtrace
