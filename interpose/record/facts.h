// Interned data and facts: what permanent chunks hold. Each thing is written once and known by its id from then on; 0
// is "none", and also the answer when a table or the file is full (counted by the caller's header counters).
//
// Any thread. A known thing is found without a lock; a new one is written under the lock, and its id is published only
// after its record is committed, so an event never refers to what is not in the file.
#pragma once

#include <cstdint>
#include <string_view>

#include "interpose/record/chunk_writer.h"
#include "interpose/record/hash.h"
#include "interpose/record/intern_table.h"
#include "interpose/record/site_size.h"
#include "interpose/record/spin_lock.h"

namespace oomtrace {

inline constexpr int kMostFrames = 64;  // of a stack; deeper ones are cut at the outer end

struct ContextState {
  bool grad_mode = false;
  bool inference_mode = false;
  bool backward = false;
  const char* node = nullptr;  // mangled class name, static storage of the library that defines it
  uint32_t forward_stack = 0;  // of the forward operator whose gradient the node computes
  uint32_t native = 0;         // NativeCallers.id
  int64_t stream = 0;          // c10::StreamId that the block was asked for on; 0: the default stream
};

// An instruction in a library's file.
struct CodePlace {
  uint32_t library = 0;  // Library.id
  uint64_t offset = 0;   // into the file
};

struct LayoutState {
  const int64_t* sizes = nullptr;
  const int64_t* strides = nullptr;  // nullptr: contiguous
  uint32_t dimensions = 0;
  int32_t dtype = 0;
};

struct StackState {
  const uint32_t* frames = nullptr;  // Frame.id, innermost first
  uint32_t count = 0;
  uint64_t module = 0;
  uint64_t root_module = 0;
  bool truncated = false;
};

// What all allocations of a site have in common.
struct SiteState {
  uint64_t bytes = 0;  // of the block
  uint32_t stack = 0;
  uint32_t layout = 0;
  uint32_t context = 0;
  uint32_t device = 0;
};

class Facts {
 public:
  static constexpr size_t kLongestString = 8192;  // bytes; the rest is cut
  static constexpr uint32_t kMostDimensions = 24;

  // Of which the trace can say the size.
  static uint32_t Dimensions(const LayoutState& layout) {
    return layout.dimensions < kMostDimensions ? layout.dimensions : kMostDimensions;
  }

  void Bind(TraceFile* file, uint32_t thread) {
    file->BindSites(site_sizes_);
    writer_.Bind(file, ChunkKind::kPermanent, thread);
  }

  // Seals what was written: at the end of the process, so that the checksum covers it.
  void Finish() {
    SpinLockHolder hold(lock_);
    writer_.Finish();
  }

  uint32_t String(std::string_view text);
  uint32_t Layout(const LayoutState& layout);
  uint32_t Context(const ContextState& context);
  uint32_t NativeCallers(const CodePlace* places, uint32_t count);  // innermost first
  uint32_t Library(std::string_view path);

  // Frames and stacks are known by hashes that the caller makes from what it walked.
  uint32_t FindFrame(uint64_t hash) const { return frames_.Find(hash); }
  uint32_t AddFrame(uint64_t hash, std::string_view file, std::string_view function, uint32_t line);
  uint32_t FindStack(uint64_t hash) const { return stacks_.Find(hash); }
  uint32_t AddStack(uint64_t hash, const StackState& stack);

  // What identifies them, for the key of a site.
  static uint64_t HashOf(const LayoutState& layout) {
    const uint32_t bytes = Dimensions(layout) * sizeof(int64_t);
    const uint64_t hash = HashBytes(layout.sizes, bytes, static_cast<uint64_t>(layout.dtype) + 2);
    return layout.strides == nullptr ? hash : HashBytes(layout.strides, bytes, hash);
  }
  static uint64_t HashOf(const ContextState& context) {
    const uint64_t flags = context.grad_mode | context.inference_mode << 1 | context.backward << 2;
    const uint64_t place =
        flags | static_cast<uint64_t>(context.forward_stack) << 8 | static_cast<uint64_t>(context.native) << 40;
    const uint64_t hash = Mix(reinterpret_cast<uintptr_t>(context.node), place);
    return context.stream == 0 ? hash : Mix(hash, static_cast<uint64_t>(context.stream));
  }

  // Sites are known by a key that the caller mixes from what makes them up, without looking any of it up.
  uint32_t FindSite(uint64_t key) const { return sites_.Find(key); }
  uint32_t AddSite(uint64_t key, const SiteState& site);

  void Module(uint64_t identity, uint64_t root, std::string_view path, std::string_view type);
  void Optimizer(uint64_t identity, std::string_view type, uint64_t bytes, uint64_t elements, std::string_view options);
  void Device(uint32_t index, std::string_view name, uint64_t total, uint32_t major, uint32_t minor,
              uint32_t multiprocessors);
  void Hook(std::string_view name, std::string_view library, uint32_t state, std::string_view reason);
  void Note(std::string_view text);
  void ThreadName(uint32_t thread, std::string_view name);

  // A record of another kind: `fill` gets a ProtoWriter over up to `most` bytes and writes one field of Chunk.
  template <typename Fill>
  bool Write(size_t most, Fill fill) {
    SpinLockHolder hold(lock_);
    return WriteLocked(most, fill);
  }

 private:
  template <typename Fill>
  bool WriteLocked(size_t most, Fill fill) {
    uint8_t* room = writer_.Room(most);
    if (room == nullptr) return false;
    ProtoWriter proto(room, most);
    fill(proto);
    if (!proto.ok()) return false;
    writer_.Commit(proto.position());
    return true;
  }
  template <typename Table, typename Fill>
  uint32_t AddLocked(Table& table, uint64_t hash, size_t most, Fill fill);
  uint32_t StringLocked(std::string_view text);

  SpinLock lock_;
  ChunkWriter writer_;
  InternTable<1 << 16> strings_;
  InternTable<1 << 17> frames_;
  InternTable<1 << 18> stacks_;
  InternTable<1 << 16> layouts_;
  InternTable<1 << 17> contexts_;
  InternTable<1 << 10> libraries_;
  InternTable<1 << 12> native_callers_;
  InternTable<kMostSites> sites_;
  SiteSize site_sizes_[kMostSites];  // by id
};

}  // namespace oomtrace
