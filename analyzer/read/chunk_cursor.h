// Walks the events of one chunk, in the order in which its thread wrote them.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "analyzer/read/chunk_list.h"
#include "analyzer/read/compact_run.h"
#include "analyzer/read/damage_log.h"
#include "analyzer/read/record.h"

namespace oomtrace {

class ChunkCursor {
 public:
  // `chunk` and `sites` outlive the cursor. Stands before the first event.
  ChunkCursor(const Chunk* chunk, const SiteTable* sites, DamageLog* damage)
      : chunk_(chunk), damage_(damage), thread_(chunk->thread), ticks_(chunk->base_ticks), run_(sites) {}

  // Moves to the next event. False at the end of what was committed, or at the first record that does not decode:
  // what follows it cannot be trusted either, since times and addresses are differences. The latter is noted.
  bool Next();

  // Compact events are records of the long form.
  const Record& record() const { return record_; }
  const Chunk& chunk() const { return *chunk_; }
  // That wrote the record: the chunk's first writer, or one that took the chunk over from it; 0 where it was folded.
  uint32_t thread() const { return thread_; }

  // What the caching allocator has reserved on the record's device, the last value that this chunk said; -1 where it
  // has said nothing yet.
  int64_t reserved() const;

 private:
  enum class Found { kEvent, kOther, kEnd };

  Found NextInRun();
  Found NextField();
  void Undecodable(size_t offset);
  void NoteMissingSites();
  void NoteReserved();

  const Chunk* chunk_;
  DamageLog* damage_;
  uint32_t thread_;
  size_t at_ = 0;         // in the payload, behind the run that is being read
  size_t run_begin_ = 0;  // in the payload
  uint64_t ticks_;
  uint64_t block_ = 0;  // the address before, rotated right by 9 bits
  CompactRun run_;
  Record record_;
  std::vector<std::pair<uint64_t, uint64_t>> reserved_;  // device, bytes
};

}  // namespace oomtrace
