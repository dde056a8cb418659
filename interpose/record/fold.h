// Makes room in a full trace without losing what lives: decodes the oldest sealed event chunks, writes what is still
// allocated at their end as fold chunks, keeps their phases, and gives the chunks back.
//
// Phases (six bytes each) and out-of-memory events stay, up to a quarter of the budget: the number of steps remains
// true.
//
// A fold is complete or not there: its chunks carry a generation that counts only once the header names it, in one
// store, and until then the old fold and the event chunks stand as they were (docs/trace-format.md). Everything happens
// under TraceFile's lock, in the thread that needed a chunk: about 5 ms for each MiB of events.
#pragma once

#include <cstdint>

#include "interpose/record/chunk_writer.h"
#include "interpose/record/live_set.h"

namespace oomtrace {

class Fold {
 public:
  // Chunks that are kept free for the next fold to write to.
  static uint64_t Spare(uint64_t budget_chunks);
  // In memory of its own; nullptr where there is none.
  static Fold* Make(TraceFile* file);

  // Nothing happens where there is too little to fold or no room to write it: chunks are recycled then.
  void FoldOldest();

 private:
  struct Record;

  static constexpr uint64_t kMostChunks = LiveSet::kMostChunks;  // folded at a time: 1 MiB of events
  static constexpr uint64_t kMostLater = 256;  // chunks that overlap with them: one or two for each thread

  uint64_t Collect();
  bool TakeIn();
  bool WriteGeneration();
  bool WriteRecord(const Record& record);
  void WriteKept();
  uint64_t KeptChunks() const;
  void Discard(uint32_t generation);

  TraceFile* file_;
  uint64_t batch_[kMostChunks];  // indices of the chunks that are folded now
  uint64_t batch_size_;
  uint32_t generation_;
  bool broken_;         // the live set could not take everything in: folding is over
  ChunkWriter writer_;  // of the generation that is being written
  ChunkWriter kept_;    // phases and other events that stay, generation 0
  LiveSet live_;
};

}  // namespace oomtrace
