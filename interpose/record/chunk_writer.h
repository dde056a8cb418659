// The chunk that one thread writes events to, with the state of its delta coding (proto/trace.proto: ticks, blocks and
// reserved bytes are relative to the events before them in the same chunk).
//
// One thread at a time. A record is written behind the committed bytes and becomes part of the trace by Commit.
#pragma once

#include <cstdint>

#include "interpose/record/clock.h"
#include "interpose/record/format.h"
#include "interpose/record/proto_writer.h"
#include "interpose/record/trace_file.h"

namespace oomtrace {

class ChunkWriter {
 public:
  static constexpr int kDevices = 16;  // whose reserved bytes are delta-coded; for others they are always written

  void Bind(TraceFile* file, ChunkKind kind, uint32_t thread) {
    file_ = file;
    kind_ = kind;
    thread_ = thread;
  }
  // For the fold, which writes while it holds the file's lock.
  void BindLocked(TraceFile* file, ChunkKind kind) {
    Bind(file, kind, 0);
    locked_ = true;
  }
  ChunkHeader* chunk() const { return chunk_; }

  // Seals what was written, so that its checksum holds; the next record goes into a chunk of its own.
  void Finish() {
    if (chunk_ != nullptr) file_->Seal(chunk_);
    chunk_ = nullptr;
  }

  // Room for a record of up to `bytes`; nullptr when the file has no chunk to give.
  uint8_t* Room(size_t bytes) {
    if (chunk_ != nullptr && kChunkPayload - committed_ >= bytes) return chunk_->payload() + committed_;
    return NextChunk(bytes);
  }
  void Commit(const uint8_t* end) {
    committed_ = static_cast<uint32_t>(end - chunk_->payload());
    chunk_->committed.store(committed_, std::memory_order_release);
  }

  // Deltas advance when they are taken: each belongs to a record that is committed.
  uint64_t TicksSince(uint64_t now) {
    const uint64_t delta = now > last_ticks_ ? now - last_ticks_ : 0;
    last_ticks_ += delta;
    return delta;
  }
  int64_t BlockDelta(uint64_t address) {
    const uint64_t rotated = address >> 9 | address << 55;
    const auto delta = static_cast<int64_t>(rotated - last_block_);
    last_block_ = rotated;
    return delta;
  }
  // Whether the device's reserved bytes are news to this chunk.
  bool ReservedChanged(uint32_t device, uint64_t reserved) {
    if (device >= kDevices) return true;
    if (last_reserved_[device] == reserved) return false;
    last_reserved_[device] = reserved;
    return true;
  }

 private:
  uint8_t* NextChunk(size_t bytes);

  TraceFile* file_ = nullptr;
  ChunkHeader* chunk_ = nullptr;
  uint32_t committed_ = 0;
  uint32_t thread_ = 0;
  ChunkKind kind_ = ChunkKind::kEvents;
  bool locked_ = false;
  uint64_t last_ticks_ = 0;
  uint64_t last_block_ = 0;
  uint64_t last_reserved_[kDevices];
};

}  // namespace oomtrace
