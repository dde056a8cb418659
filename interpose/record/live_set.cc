#include "interpose/record/live_set.h"

#include <algorithm>
#include <compare>
#include <cstring>
#include <new>

#include "interpose/record/compact_reader.h"
#include "interpose/record/hash.h"
#include "interpose/record/memory.h"
#include "interpose/record/wire.h"
#include "interpose/record/wire_reader.h"

namespace oomtrace {

// One record of a chunk, its deltas undone.
struct LiveSet::Event {
  static constexpr int kFields = 12;

  uint32_t kind;  // field of Chunk; for compact events kTensorAlloc and kTensorFree
  uint64_t ticks;
  LiveBlock block;              // of what has one
  uint64_t value[kFields];      // by field number, where it is a number; not of compact events
  const uint8_t* behind_ticks;  // the message without its first field
  uint32_t size_behind_ticks;

  uint32_t Word(int field) const { return static_cast<uint32_t>(value[field]); }
};

// The events of one chunk, one after the other.
struct LiveSet::Cursor {
  Cursor(const ChunkHeader& chunk, BlockTable* blocks, const SiteSize* sites)
      : ticks(chunk.base_ticks),
        records(reinterpret_cast<const uint8_t*>(&chunk) + kChunkHeaderSize,
                chunk.committed.load(std::memory_order_acquire)),
        run(blocks, sites) {}

  bool Next() {
    for (;;) {
      if (CompactEvent compact; run.Next(&ticks, &compact)) {
        Take(compact);
        return true;
      }
      if (!records.Next() || !records.is_bytes()) return false;
      if (records.field() != wire::kCompact) {
        Take(records.field(), records.bytes(), records.size());
        return true;
      }
      run.Begin(records.bytes(), records.size());
    }
  }

  uint64_t ticks;
  uint64_t rotated = 0;
  WireReader records;
  CompactReader run;
  Event event;

 private:
  static bool HasBlock(uint32_t kind) {
    return kind == wire::kDeviceAlloc || kind == wire::kDeviceFree || kind == wire::kHostCopy ||
           kind == wire::kTensorRole || kind == wire::kHolder;
  }

  void Take(const CompactEvent& compact) {
    event.kind = compact.alloc ? wire::kTensorAlloc : wire::kTensorFree;
    event.ticks = compact.ticks;
    event.block = {};
    event.block.ticks = compact.ticks;
    event.block.address = compact.address;
    event.block.bytes = compact.bytes;
    event.block.reserved = compact.reserved;
    event.block.site = compact.site;
    event.block.stack = compact.stack;
    event.block.layout = compact.layout;
    event.block.context = compact.context;
    event.block.device = compact.device;
  }

  void Take(uint32_t kind, const uint8_t* message, size_t size) {
    event = {};
    event.kind = kind;
    event.behind_ticks = message + size;  // ticks come first, where they are not zero
    WireReader fields(message, size);
    while (fields.Next()) {
      if (fields.field() != 1 && fields.start() < event.behind_ticks) event.behind_ticks = fields.start();
      if (!fields.is_bytes() && fields.field() < Event::kFields) event.value[fields.field()] = fields.value();
    }
    event.size_behind_ticks = static_cast<uint32_t>(message + size - event.behind_ticks);
    event.ticks = event.block.ticks = ticks += event.value[1];
    if (!HasBlock(kind)) return;
    rotated += static_cast<uint64_t>(WireReader::ZigZag(event.value[2]));
    event.block.address = BlockTable::Address(rotated);
    event.block.bytes = event.value[3];
    event.block.device = event.Word(7);
  }
};

// When which address was allocated, in the chunks that stay.
class LiveSet::LaterBirths {
 public:
  LaterBirths(const ChunkHeader* const* chunks, size_t count, BlockTable* blocks, const SiteSize* sites) {
    const size_t most = count * (kChunkPayload / kSmallestAllocation);
    bytes_ = (most + 1) * sizeof(Birth);
    births_ = static_cast<Birth*>(MapMemory(bytes_));
    for (size_t i = 0; births_ != nullptr && i < count; ++i) Add(*chunks[i], blocks, sites);
    if (births_ != nullptr) std::sort(births_, births_ + count_);
  }
  ~LaterBirths() {
    if (births_ != nullptr) munmap(births_, bytes_);
  }
  LaterBirths(const LaterBirths&) = delete;
  LaterBirths& operator=(const LaterBirths&) = delete;

  bool ok() const { return births_ != nullptr; }
  bool Between(const LiveBlock& block, uint64_t after, uint64_t before) const {
    const Birth* found = std::upper_bound(births_, births_ + count_, Birth{block.address, block.device_level, after});
    return found != births_ + count_ && found->address == block.address && found->device_level == block.device_level &&
           found->ticks < before;
  }

 private:
  struct Birth {
    uint64_t address;
    bool device_level;
    uint64_t ticks;
    auto operator<=>(const Birth&) const = default;
  };
  static constexpr size_t kSmallestAllocation = 3;  // bytes: a head, a site and a slot

  void Add(const ChunkHeader& chunk, BlockTable* blocks, const SiteSize* sites) {
    if (!blocks->Clear()) return;
    Cursor cursor(chunk, blocks, sites);
    while (cursor.Next()) {
      const bool device_level = cursor.event.kind == wire::kDeviceAlloc;
      if (cursor.event.kind != wire::kTensorAlloc && !device_level) continue;
      births_[count_++] = {cursor.event.block.address, device_level, cursor.event.ticks};
    }
  }

  Birth* births_ = nullptr;
  size_t count_ = 0;
  size_t bytes_ = 0;
};

LiveBlock* LiveSet::Find(uint64_t address, bool device_level) const {
  for (size_t i = Mix(address, device_level); blocks_ != nullptr; ++i) {
    LiveBlock& block = blocks_[i & (kSlots - 1)];
    if (!block.used) return nullptr;
    if (block.address == address && block.device_level == device_level) return &block;
  }
  return nullptr;
}

LiveBlock* LiveSet::FindOrAdd(uint64_t address, bool device_level) {
  if (LiveBlock* known = Find(address, device_level)) return known;
  if ((blocks_ == nullptr || used_ >= kSlots / 4 * 3) && !MakeRoom()) return nullptr;
  size_t i = Mix(address, device_level);
  while (blocks_[i & (kSlots - 1)].used) ++i;
  LiveBlock& block = blocks_[i & (kSlots - 1)];
  block.used = true;
  block.address = address;
  block.device_level = device_level;
  ++used_;
  return &block;
}

// A table without the slots of the dead: over a long run an allocator uses more addresses than ever live at once.
bool LiveSet::MakeRoom() {
  auto* blocks = static_cast<LiveBlock*>(MapMemory(kSlots * sizeof(LiveBlock)));
  if (blocks == nullptr) return false;
  size_t used = 0;
  ForEachLive([&](const LiveBlock& block) {
    size_t slot = Mix(block.address, block.device_level);
    while (blocks[slot & (kSlots - 1)].used) ++slot;
    blocks[slot & (kSlots - 1)] = block;
    ++used;
  });
  if (blocks_ != nullptr) munmap(blocks_, kSlots * sizeof(LiveBlock));
  blocks_ = blocks;
  used_ = used;
  return used_ < kSlots / 2;
}

bool LiveSet::Allocate(const LiveBlock& block) {
  LiveBlock* slot = FindOrAdd(block.address, block.device_level);
  if (slot == nullptr) return false;
  if (slot->live && slot->ticks > block.ticks) return true;  // a later allocation at this address is known
  *slot = block;
  slot->used = slot->live = true;
  return true;
}

bool LiveSet::Free(const LiveBlock& block, const LaterBirths& later) {
  LiveBlock* slot = Find(block.address, block.device_level);
  const bool live = slot != nullptr && slot->live;
  if (later.Between(block, live ? slot->ticks : 0, block.ticks)) {
    if (carried_count_ == kMostCarried) return false;
    carried_[carried_count_++] = block;
  } else if (live && slot->ticks <= block.ticks) {
    slot->live = false;
  }
  return true;
}

// What an event says about a block that lives.
void LiveSet::Describe(const Event& event) {
  LiveBlock* block = Find(event.block.address, false);
  if (block == nullptr || !block->live) return;
  if (event.kind == wire::kHostCopy) {
    block->copy_ticks = event.ticks;
    block->copy_bytes = event.value[3];
    return;
  }
  block->role_ticks = event.ticks;
  block->role_bytes = event.value[3];
  block->role = event.Word(4);
  block->role_name = event.Word(5);
  block->owner = event.value[6];
}

bool LiveSet::Keep(const Event& event) {
  if (kept_count_ == kMostKept) return false;
  kept_[kept_count_++] = {event.ticks, event.kind, event.size_behind_ticks, event.behind_ticks};
  return true;
}

bool LiveSet::ApplyEvent(const Event& event, const LaterBirths& later) {
  LiveBlock block = event.block;
  switch (event.kind) {
    case wire::kTensorAlloc:
      return Allocate(block);
    case wire::kTensorFree:
      return Free(block, later);
    case wire::kDeviceAlloc:
      if (event.value[8] != 0 || block.address == 0) return true;  // refused
      block.device_level = true;
      block.stack = event.Word(4);
      block.library = event.Word(5);
      block.api = event.Word(6);
      block.layout = event.Word(9);
      block.context = event.Word(10);
      return Allocate(block);
    case wire::kDeviceFree:
      block.device_level = true;
      block.library = event.Word(5);
      block.api = event.Word(6);
      return Free(block, later);
    case wire::kHostCopy:
    case wire::kTensorRole:
      Describe(event);
      return true;
    case wire::kPhase:
    case wire::kOutOfMemory:
    case wire::kGpuProcesses:
    case wire::kExit:
      return Keep(event);
    default:
      return true;  // free bytes of long ago, holders after an error that was survived
  }
}

bool LiveSet::Apply(const ChunkHeader* const* chunks, size_t count, const ChunkHeader* const* later,
                    size_t later_count) {
  const LaterBirths births(later, later_count, &tables_[0], sites_);
  if (!births.ok() || count > kMostChunks) return false;
  alignas(Cursor) unsigned char memory[kMostChunks * sizeof(Cursor)];
  auto* cursors = reinterpret_cast<Cursor*>(memory);
  size_t open = 0;
  for (size_t i = 0; i < count; ++i) {
    if (!tables_[i].Clear()) return false;
    auto* cursor = new (cursors + open) Cursor(*chunks[i], &tables_[i], sites_);
    if (cursor->Next()) ++open;
  }
  // Frees that were carried so far are events among the others; those that have to be carried on come back in order.
  static_assert(sizeof(LiveBlock) * kMostCarried < 2u << 20);
  const size_t waiting = carried_count_;
  auto* frees = static_cast<LiveBlock*>(MapMemory(sizeof(carried_)));
  if (frees == nullptr) return false;
  memcpy(frees, carried_, waiting * sizeof(LiveBlock));
  carried_count_ = 0;
  bool complete = true;
  size_t next_free = 0;
  while (open > 0 || next_free < waiting) {
    size_t first = 0;
    for (size_t i = 1; i < open; ++i)
      if (cursors[i].event.ticks < cursors[first].event.ticks) first = i;
    if (next_free < waiting && (open == 0 || frees[next_free].ticks < cursors[first].event.ticks)) {
      complete &= Free(frees[next_free++], births);
      continue;
    }
    ++events_;
    complete &= ApplyEvent(cursors[first].event, births);
    if (!cursors[first].Next()) memcpy(static_cast<void*>(cursors + first), cursors + --open, sizeof(Cursor));
  }
  munmap(frees, sizeof(carried_));
  return complete;
}

}  // namespace oomtrace
