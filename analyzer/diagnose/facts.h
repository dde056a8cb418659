// What every judgement starts from, read once from a timeline: the death, the moment that the report describes, who
// lives then, and how far training had come. Points into the timeline, which must outlive it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "analyzer/timeline/timeline.h"
#include "report.pb.h"

namespace oomtrace {

struct Facts {
  const Timeline* timeline = nullptr;
  const OutOfMemory* oom = nullptr;  // the refusal that the program did not survive, null: none
  int64_t survived_refusals = 0;     // refusals before it
  int64_t moment = 0;                // ns: the death, else the peak
  std::vector<uint32_t> live;        // tensors of the device alive at `moment`, as indices into Timeline::tensors
  int64_t refused = 0;               // bytes of the tensor that did not fit
  int64_t requested = 0;             // bytes asked of the device for it: a segment of PyTorch's allocator
  int64_t peak = 0;                  // highest bytes in tensors, the refused tensor included
  int64_t peak_time = 0;
  int64_t peak_reserved = 0;
  int64_t steps = 0;  // completed: the optimizer's, or backward passes where none stepped
  const char* step_noun = "optimizer step";
  // The step in which the optimizer's state was born, -1: it has none, or had it before training.
  int64_t state_step = -1;
  // One whole forward, backward and step has completed after the optimizer's state exists.
  bool steady = false;
  report::DeviceTable device;
  // Of a program without PyTorch: what its stream-ordered pools keep of what it freed, at least; part of
  // device.other().
  int64_t idle_pools = 0;
  // Of such a program: what the driver's pages take beyond the bytes asked for; part of device.other().
  int64_t page_rounding = 0;
  // It freed memory into stream-ordered pools, and how much of the context's row they keep is not known.
  bool pools_may_hold = false;
  // Of device.cache(): what lies idle in private pools (MemPool, CUDA graphs). Nothing outside of its pool is served
  // from it, and empty_cache() does not give it back while the pool has an owner.
  int64_t private_idle = 0;
  int64_t category[kCategories] = {};  // bytes of `live`; adds up to device.tensors
  int64_t leaked[kCategories] = {};    // of these, what a leak made: filled once it is known
  std::vector<std::string> notes;      // what the table could not make add up by itself
  bool processes_listed = false;       // NVML named the processes on the device
  // Bytes that PyTorch's allocator may reserve (set_per_process_memory_fraction), 0: no limit below the device's. Where
  // the trace does not name it but a refusal shows it, the highest that was reserved: the limit is that or more.
  int64_t memory_limit = 0;
  bool memory_limit_known = false;
  bool refused_by_limit = false;  // the device was not asked
  bool without_context = false;   // the device refused, and had never told its free memory: no context came to be

  int64_t need() const { return device.tensors() + refused; }
  // What PyTorch's allocator has reserved and could hand out to anybody, if the pieces are large enough.
  int64_t unallocated() const { return device.cache() - private_idle; }
  // What PyTorch's allocator could have had, in all: of the device, and under its own limit, which may be lower.
  int64_t available_on_device() const { return device.tensors() + device.cache() + device.free(); }
  int64_t available() const { return WithinLimit(available_on_device()); }
  int64_t WithinLimit(int64_t bytes) const { return memory_limit > 0 && memory_limit < bytes ? memory_limit : bytes; }
};

Facts GatherFacts(const Timeline& timeline);

// The phase at a time.
PhaseKind PhaseAt(const Timeline& timeline, int64_t time);

// The highest bytes in tensors in [begin, end), 0 where nothing is known.
int64_t PeakBetween(const Timeline& timeline, int64_t begin, int64_t end);
// The same, only while the process was in `phase`.
int64_t PeakInPhase(const Timeline& timeline, PhaseKind phase, int64_t begin, int64_t end);

// Whether anything before the moment shows that the program trains: an optimizer, a backward pass, a step.
bool TrainingSeen(const Facts& facts);

// Whether nearly all of the last steps ran a model without gradients, or in evaluation mode: then that is a part of the
// training (a teacher, a rollout, features computed beforehand), and no evaluation.
bool EvaluatesInEachStep(const Facts& facts);

// When the last evaluation at or before a time began, 0: there was none. What lies between two of its batches is part
// of it, as where `with torch.no_grad():` stands inside the loop over them; training ends it.
int64_t BeginOfEvaluation(const Timeline& timeline, int64_t time);

// Whether modules ran with gradients on in the evaluation that died. Where none did, what was made between their calls
// hangs from no graph, whatever the mode was there.
bool EvaluatesWithGradients(const Facts& facts);

// Whether the phase belongs to training proper.
bool IsTraining(PhaseKind phase);

}  // namespace oomtrace
