#include "interpose/record/chunk_writer.h"

#include <atomic>

#include "interpose/record/proto_writer.h"
#include "interpose/record/test_point.h"
#include "interpose/record/wire.h"

namespace oomtrace {
namespace {

constexpr uint32_t kLengthSize = 4;
constexpr uint32_t kLongestTag = 4;
constexpr size_t kLongestThreadChange = 16;
static_assert(kChunkPayload < 1u << 28, "a run's length fits in a varint of four bytes");

uint32_t PaddedVarint(uint32_t value) {
  return (value & 0x7f) | (value >> 7 & 0x7f) << 8 | (value >> 14 & 0x7f) << 16 | (value >> 21) << 24 | 0x808080;
}

// One store: another thread that reads the chunk, or whoever opens the file after a kill, sees the old or the new.
void StoreLength(uint8_t* at, uint32_t length) {
  std::atomic_ref<uint32_t>(*reinterpret_cast<uint32_t*>(at)).store(PaddedVarint(length), std::memory_order_relaxed);
}

}  // namespace

void ChunkWriter::SealChunk() {
  if (run_ != 0) EndRun();
  locked_ ? file_->SealLocked(chunk_) : file_->Seal(chunk_);
}

void ChunkWriter::Finish() {
  if (chunk_ != nullptr) SealChunk();
  chunk_ = nullptr;
}

void ChunkWriter::ChangeThread(uint32_t thread) {
  if (thread == thread_) return;
  thread_ = thread;
  if (chunk_ == nullptr) return;
  uint8_t* at = Room(kLongestThreadChange);
  if (at == nullptr || committed_ == 0) return;  // the header of a new chunk says it
  ProtoWriter proto(at, kLongestThreadChange);
  uint8_t* message = proto.Begin(wire::kThreadChange);
  proto.Uint(2, thread);
  proto.End(message);
  Commit(proto.position());
}

uint8_t* ChunkWriter::NextChunk(size_t bytes) {
  if (bytes > kChunkPayload) return nullptr;
  if (chunk_ != nullptr) SealChunk();
  chunk_ = locked_ ? file_->TakeLocked(kind_, thread_, generation_) : file_->Take(kind_, thread_);
  OOMTRACE_TEST_POINT("writer: chunk taken");
  if (chunk_ == nullptr) return nullptr;
  committed_ = 0;
  last_ticks_ = chunk_->base_ticks;
  last_block_ = 0;
  blocks_cleared_ = false;
  for (uint64_t& reserved : last_reserved_) reserved = kNothing;
  return chunk_->payload();
}

// Nothing of the run is part of the trace until its first event is committed, the tag and the length with it.
uint8_t* ChunkWriter::BeginRun() {
  uint8_t* at = Room(kLongestTag + kLengthSize + kLongestCompact);
  if (at == nullptr) return nullptr;
  if (!blocks_cleared_) {
    if (!blocks_.Clear()) return nullptr;
    blocks_cleared_ = true;
    last_new_block_ = 0;
  }
  *at = wire::kCompact << 3 | ProtoWriter::kLengthDelimited;
  while (reinterpret_cast<uintptr_t>(++at) % kLengthSize != 0) {  // payloads begin at a multiple of four
    at[-1] |= 0x80;
    *at = 0;
  }
  OOMTRACE_TEST_POINT("run: tag");
  run_ = static_cast<uint32_t>(at - chunk_->payload());
  StoreLength(at, static_cast<uint32_t>(kChunkPayload) - run_ - kLengthSize);
  OOMTRACE_TEST_POINT("run: begun");
  return at + kLengthSize;
}

void ChunkWriter::EndRun() {
  OOMTRACE_TEST_POINT("run: before its length");
  StoreLength(chunk_->payload() + run_, committed_ - run_ - kLengthSize);
  OOMTRACE_TEST_POINT("run: ended");
  run_ = 0;
}

}  // namespace oomtrace
