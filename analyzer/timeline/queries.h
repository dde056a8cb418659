// Questions that the stages after this one ask of a timeline.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// Indices of the tensors of `device` that live at `time` (born at or before it, not dead at it).
std::vector<size_t> LiveTensors(const Timeline& timeline, int32_t device, int64_t time);

// Bytes in tensors of `device` at `time`.
int64_t TensorBytes(const Timeline& timeline, int32_t device, int64_t time);

// Of the process's environment, as far as the recorder keeps it; nothing where it was not set.
std::optional<std::string> EnvironmentVariable(const Timeline& timeline, std::string_view name);

// Whether every tensor that lived at `time` has a record: in a long trace not always.
bool TensorsAreWhole(const Timeline& timeline, int64_t time);

// Of what was freed before, not every tensor has a record: for those who look at the trend up to `time`.
int64_t PartlyKnownUntil(const Timeline& timeline, int64_t time);

// How many steps had ended by `time`.
int64_t StepsEndedBy(const Timeline& timeline, int64_t time);

// The step that runs at `time`, or ends with it: index into Timeline::steps; their number after the last one.
size_t StepAt(const Timeline& timeline, int64_t time);

// Whether torch.compile generated the file: told by its name, a hash in a folder of two of its characters, wherever
// TORCHINDUCTOR_CACHE_DIR is; or by the default folder.
bool IsInductorFile(const std::string& file);

// Whether a frame is the user's own: not of an installed package, the standard library, generated code or a script of
// an environment. "/home/me/train.py", "<ipython-input-5-0a1b>", "<string>" of python -c: yes.
// ".../site-packages/torch/nn/functional.py", "<frozen runpy>": no.
bool IsUserFrame(const Frame& frame);

// The frame of `stack` to show: the innermost of the user; else the innermost outside torch; else the innermost.
// Null for a stack without frames.
const Frame* UserFrame(const Timeline& timeline, uint32_t stack);

// The stack that says what a tensor is for: its own, or for what the autograd engine allocates (whose own stack is that
// of the statement that called backward) the stack of the forward operator whose gradient was being computed.
uint32_t PlaceOf(const Timeline& timeline, uint32_t stack, uint32_t forward_stack);

// For each stack, whether it runs where gradients are off although a graph is being kept: in a re-entrant checkpoint,
// or in the forward that torch.compile made for training (AOTAutograd's CompiledFunction; it makes none for an
// evaluation).
std::vector<bool> GraphKeepingStacks(const Timeline& timeline);

// Whether `frame` runs a function of this name, qualified (Python 3.11 on) or not.
bool IsFunction(const Frame& frame, const char* name);

// For each stack, the first of those that are the same statements: equal frames below modules of the same path. Cells
// of a notebook and other code from text count as the same file whatever number its name has.
std::vector<uint32_t> SameStatements(const Timeline& timeline);

// "train.py:41", "" for null.
std::string Site(const Frame* frame);

// Paths of modules by identity.
class ModulePaths {
 public:
  explicit ModulePaths(const Timeline& timeline);

  // Path within its root, without the wrappers that torch.compile and DistributedDataParallel add; "" where the module
  // is a root or unknown.
  const std::string& Path(uint64_t identity) const;

 private:
  absl::flat_hash_map<uint64_t, std::string> paths_;
};

// "_orig_mod.transformer.h.0" → "transformer.h.0".
std::string WithoutWrappers(const std::string& path);

// The seven numbers of a device at a moment. tensors + cache + other + context + other_processes + free = total.
struct DeviceUse {
  int64_t total = 0;  // 0: the trace holds no reading, and every number but tensors, cache and other is unknown
  int64_t tensors = 0;
  int64_t cache = 0;
  int64_t other = 0;
  int64_t context = 0;
  int64_t other_processes = 0;
  int64_t free = 0;
  std::vector<std::string> notes;  // what does not add up by itself, in sentences
};

// The device of the timeline right after the last event at or before `time`. Free and total are those of a refusal at
// `time`, else of the last reading before it, corrected for what this process has allocated since (in a trace with
// losses: for what PyTorch reserved since). Tensors are cut only where they alone exceed the device, and a note says
// so.
DeviceUse DeviceUseAt(const Timeline& timeline, int64_t time);

// When this process held most of the report's device, below the level of tensors; the end where it held nothing.
struct DevicePeak {
  int64_t bytes = 0;
  int64_t time = 0;  // ns
};
DevicePeak FindDevicePeak(const Timeline& timeline);

// The refusal that the program did not survive; null where there is none.
const OutOfMemory* FatalOutOfMemory(const Timeline& timeline);

// When the tensors on the timeline's device took most bytes, up to `until`; where that is in a part of the trace that
// was folded, a later time that is as high within 1 %, if there is one. The end where there is no sample.
int64_t PeakTime(const Timeline& timeline, int64_t until);

// The moment that a report without a death is about: the highest bytes in tensors. With a death, its time.
int64_t MomentOfInterest(const Timeline& timeline);

}  // namespace oomtrace
