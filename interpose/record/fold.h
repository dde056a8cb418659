// Makes room in a full trace without losing what lives: takes the events up to a moment, the *horizon*, out of the
// oldest event chunks, writes what is allocated at that moment and how memory went until then (live_set.h) as fold
// chunks, and gives the chunks back that hold nothing later.
//
// Phases (six bytes each) and out-of-memory events stay, up to a quarter of the budget: the number of steps remains
// true.
//
// A fold is complete or not there: its chunks carry a generation, which counts, with the horizon, once the header names
// it, in one store. Until then the old fold and the event chunks stand as they were (docs/trace-format.md). Everything
// happens under TraceFile's lock, in the thread that needed a chunk; docs/performance.md says how long that takes.
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

  // Chunks taken out at a time: the fewest, for a short pause; more where the live set is large, so that writing it
  // anew does not cost more than what it makes room for.
  static constexpr uint64_t kFewestChunks = 2;
  static constexpr uint64_t kMostChunks = 16;

  bool ChooseBatch();
  bool TakeIn();
  bool WriteGeneration();
  bool WriteCalls(uint32_t device);
  bool WriteSpan(uint32_t device, const StepSpan& span);
  bool WriteRecord(const Record& record);
  bool WriteMessage(uint32_t kind, const LiveBlock* block, const LiveMessage& message);
  void WriteKept();
  uint64_t ChunksOf(uint32_t generation) const;
  void Discard(uint32_t generation);

  TraceFile* file_;
  uint64_t batch_[kMostChunks];  // indices of the chunks that are given back
  uint64_t batch_size_;
  uint64_t until_;  // the new horizon
  uint32_t generation_;
  bool broken_;         // the live set could not take everything in: folding is over
  ChunkWriter writer_;  // of the generation that is being written
  ChunkWriter kept_;    // phases and other events that stay, generation 0
  LiveSet live_;
};

}  // namespace oomtrace
