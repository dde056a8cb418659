// The layout of a trace file, as docs/trace-format.md describes it. Little-endian hosts only (x86-64, aarch64).
//
// "Who writes" is part of the contract: fields marked relaxed are counters that any thread adds to; `committed` has one
// writer and is stored with release order after the bytes that it covers, so a reader of the file, whenever the writer
// was killed, sees only whole records below it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace oomtrace {

inline constexpr uint32_t kFormatVersion = 1;
inline constexpr size_t kHeaderSize = 4096;
inline constexpr size_t kChunkSize = 65536;
inline constexpr size_t kChunkHeaderSize = 64;
inline constexpr size_t kChunkPayload = kChunkSize - kChunkHeaderSize;
inline constexpr uint32_t kChunkMagic = 0x4843544f;  // "OTCH"
inline constexpr uint16_t kSealed = 1;

enum class State : uint32_t { kOff = 0, kArmed = 1, kRecording = 2, kDisabled = 3 };
enum class ChunkKind : uint16_t { kPermanent = 1, kEvents = 2, kFold = 3 };

struct TraceHeader {
  char magic[8];  // "OOMTRACE"
  uint32_t version;
  uint32_t header_size;
  uint32_t chunk_size;
  uint32_t chunk_header_size;
  uint64_t budget_chunks;
  std::atomic<uint64_t> reserved_chunks;
  std::atomic<uint32_t> state;
  uint32_t pid;
  uint64_t start_unix_ns;
  uint64_t start_ticks;
  uint64_t start_monotonic_ns;
  std::atomic<uint64_t> dropped_events;   // relaxed
  std::atomic<uint64_t> recycled_chunks;  // relaxed
  std::atomic<uint64_t> folded_events;    // relaxed
  std::atomic<uint64_t> unknown_calls;    // relaxed
  std::atomic<uint64_t> failed_stacks;    // relaxed
  std::atomic<uint32_t> fold_generation;  // the fold that counts: chunks of other generations are to be ignored
  uint32_t zero;
  std::atomic<uint64_t> fold_horizon[2];  // ticks up to which events are folded, of generations by their lowest bit
  // By _exit(), which runs no exit handler: 0, or the ticks when it was called, stored after the status.
  std::atomic<uint64_t> exit_ticks;
  std::atomic<int32_t> exit_status;
  uint8_t zero_to_reason[108];
  char reason[256];  // state machine: why the recorder is disabled
  uint8_t zero_to_end[kHeaderSize - 512];
};

struct ChunkHeader {
  std::atomic<uint32_t> magic;
  uint16_t kind;
  std::atomic<uint16_t> flags;
  uint64_t sequence;
  uint64_t base_ticks;
  uint64_t base_monotonic_ns;
  uint32_t thread;
  std::atomic<uint32_t> committed;
  uint32_t crc;
  uint32_t generation;  // of a fold chunk
  uint8_t zero[16];

  uint8_t* payload() { return reinterpret_cast<uint8_t*>(this) + kChunkHeaderSize; }
};

static_assert(sizeof(TraceHeader) == kHeaderSize);
static_assert(offsetof(TraceHeader, version) == 8 && offsetof(TraceHeader, header_size) == 12);
static_assert(offsetof(TraceHeader, chunk_size) == 16 && offsetof(TraceHeader, chunk_header_size) == 20);
static_assert(offsetof(TraceHeader, budget_chunks) == 24 && offsetof(TraceHeader, reserved_chunks) == 32);
static_assert(offsetof(TraceHeader, state) == 40 && offsetof(TraceHeader, pid) == 44);
static_assert(offsetof(TraceHeader, start_unix_ns) == 48 && offsetof(TraceHeader, start_ticks) == 56);
static_assert(offsetof(TraceHeader, start_monotonic_ns) == 64 && offsetof(TraceHeader, dropped_events) == 72);
static_assert(offsetof(TraceHeader, recycled_chunks) == 80 && offsetof(TraceHeader, folded_events) == 88);
static_assert(offsetof(TraceHeader, unknown_calls) == 96 && offsetof(TraceHeader, failed_stacks) == 104);
static_assert(offsetof(TraceHeader, fold_horizon) == 120);
static_assert(offsetof(TraceHeader, exit_ticks) == 136 && offsetof(TraceHeader, exit_status) == 144);
static_assert(offsetof(TraceHeader, fold_generation) == 112 && offsetof(TraceHeader, reason) == 256);

static_assert(sizeof(ChunkHeader) == kChunkHeaderSize);
static_assert(offsetof(ChunkHeader, kind) == 4 && offsetof(ChunkHeader, flags) == 6);
static_assert(offsetof(ChunkHeader, sequence) == 8 && offsetof(ChunkHeader, base_ticks) == 16);
static_assert(offsetof(ChunkHeader, base_monotonic_ns) == 24 && offsetof(ChunkHeader, thread) == 32);
static_assert(offsetof(ChunkHeader, committed) == 36 && offsetof(ChunkHeader, crc) == 40);
static_assert(offsetof(ChunkHeader, generation) == 44);
static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint16_t>::is_always_lock_free);

}  // namespace oomtrace
