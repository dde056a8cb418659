// The chunk that one thread writes events to, with the state of its delta coding (proto/trace.proto: ticks, blocks and
// reserved bytes are relative to the events before them in the same chunk).
//
// One thread at a time. A record is written behind the committed bytes and becomes part of the trace by Commit. Compact
// events stand in runs: the first opens one, and a record of another kind ends it.
#pragma once

#include <cstdint>

#include "interpose/record/block_table.h"
#include "interpose/record/clock.h"
#include "interpose/record/format.h"
#include "interpose/record/proto_writer.h"
#include "interpose/record/test_point.h"
#include "interpose/record/trace_file.h"

namespace oomtrace {

class ChunkWriter {
 public:
  static constexpr int kDevices = 16;  // whose reserved bytes are delta-coded; for others they are always written
  // Bytes of the longest compact event: nine varints, of which at most five have 64 bits, and the reserved bytes before
  // it (three).
  static constexpr size_t kLongestCompact = 96;
  static constexpr int kCompactTimeShift = 4;  // compact events count time in 16 ticks

  void Bind(TraceFile* file, ChunkKind kind, uint32_t thread) {
    file_ = file;
    kind_ = kind;
    thread_ = thread;
  }
  // For the fold, which writes while it holds the file's lock: chunks of this generation from now on.
  void BindLocked(TraceFile* file, ChunkKind kind, uint32_t generation) {
    Bind(file, kind, 0);
    generation_ = generation;
    locked_ = true;
  }
  ChunkHeader* chunk() const { return chunk_; }
  // Another thread writes from now on: a chunk that is open says so.
  void ChangeThread(uint32_t thread);
  uint32_t thread() const { return thread_; }

  // Seals what was written, so that its checksum holds; the next record goes into a chunk of its own.
  void Finish();

  // Room for a record of up to `bytes`; nullptr when the file has no chunk to give.
  uint8_t* Room(size_t bytes) {
    if (run_ != 0) EndRun();
    if (chunk_ != nullptr && kChunkPayload - committed_ >= bytes) return chunk_->payload() + committed_;
    return NextChunk(bytes);
  }
  // Room for one compact event with the reserved bytes before it, inside a run. It must be committed.
  uint8_t* RunRoom() {
    if (run_ != 0 && kChunkPayload - committed_ >= kLongestCompact) [[likely]]
      return chunk_->payload() + committed_;
    return BeginRun();
  }
  void Commit(const uint8_t* end) {
    committed_ = static_cast<uint32_t>(end - chunk_->payload());
    OOMTRACE_TEST_POINT("commit: before");
    chunk_->committed.store(committed_, std::memory_order_release);
    OOMTRACE_TEST_POINT("commit: after");
  }

  // Deltas advance when they are taken: each belongs to a record that is committed.
  uint64_t TicksSince(uint64_t now) {
    const uint64_t delta = now > last_ticks_ ? now - last_ticks_ : 0;
    last_ticks_ += delta;
    return delta;
  }
  uint64_t CompactTime(uint64_t now) {
    const uint64_t time = now > last_ticks_ ? (now - last_ticks_) >> kCompactTimeShift : 0;
    last_ticks_ += time << kCompactTimeShift;
    return time;
  }
  int64_t BlockDelta(uint64_t address) { return Delta(BlockTable::Rotate(address), &last_block_); }
  int64_t NewBlockDelta(uint64_t rotated) { return Delta(rotated, &last_new_block_); }
  BlockTable& blocks() { return blocks_; }  // of the run that is open
  // Whether the device's reserved bytes are news to this chunk.
  bool ReservedChanged(uint32_t device, uint64_t reserved) {
    if (device >= kDevices) return true;
    if (last_reserved_[device] == reserved) return false;
    last_reserved_[device] = reserved;
    return true;
  }

 private:
  static constexpr uint64_t kNothing = ~uint64_t{0};  // reserved bytes of which the chunk has said nothing yet

  static int64_t Delta(uint64_t value, uint64_t* last) {
    const auto delta = static_cast<int64_t>(value - *last);
    *last = value;
    return delta;
  }
  uint8_t* NextChunk(size_t bytes);
  uint8_t* BeginRun();
  void EndRun();
  void SealChunk();

  TraceFile* file_ = nullptr;
  ChunkHeader* chunk_ = nullptr;
  uint32_t committed_ = 0;
  uint32_t run_ = 0;  // where the open run's length stands in the payload, 0: none is open
  uint32_t thread_ = 0;
  uint32_t generation_ = 0;
  ChunkKind kind_ = ChunkKind::kEvents;
  bool locked_ = false;
  bool blocks_cleared_ = false;  // for this chunk
  BlockTable blocks_;
  uint64_t last_ticks_ = 0;
  uint64_t last_block_ = 0;
  uint64_t last_new_block_ = 0;
  uint64_t last_reserved_[kDevices];
};

}  // namespace oomtrace
