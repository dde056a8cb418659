#include "interpose/record/chunk_writer.h"

namespace oomtrace {

uint8_t* ChunkWriter::NextChunk(size_t bytes) {
  if (bytes > kChunkPayload) return nullptr;
  if (chunk_ != nullptr) locked_ ? file_->SealLocked(chunk_) : file_->Seal(chunk_);
  chunk_ = locked_ ? file_->TakeLocked(kind_, thread_) : file_->Take(kind_, thread_);
  if (chunk_ == nullptr) return nullptr;
  committed_ = 0;
  last_ticks_ = chunk_->base_ticks;
  last_block_ = 0;
  for (uint64_t& reserved : last_reserved_) reserved = 0;
  return chunk_->payload();
}

}  // namespace oomtrace
