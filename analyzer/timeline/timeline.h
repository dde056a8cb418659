// What happened in one process, in order: the analyzer's only view of a trace from here on.
//
// timeline/ builds it from the events that read/ decodes; attribute/ fills the fields marked so; diagnose/ and
// advise/ only read. Times are nanoseconds since the start of the trace, sizes are bytes, steps count completed
// optimizer steps. Everything is plain data; nothing is shared between threads.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "analyzer/timeline/interned_text.h"

namespace oomtrace {

inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

enum class ProcessLife { kUnknown, kRunning, kGone };

struct Frame {
  std::string file;
  std::string function;
  int64_t line = 0;
};

// A Python stack, innermost frame first (indices into Timeline::frames).
struct Stack {
  std::vector<uint32_t> frames;
  uint64_t module = 0;       // identity of the innermost nn.Module being called, 0: none
  uint64_t root_module = 0;  // identity of the outermost one
};

// Shape and element type asked of a tensor factory.
struct Layout {
  std::vector<int64_t> shape;
  std::string dtype;  // "bfloat16"; "" where only the bytes are known: a storage that was resized
  int64_t bytes = 0;  // product of the shape times the element size

  bool has_shape() const { return !dtype.empty(); }
};

enum class Category : uint8_t {
  kParameter,
  kGradient,
  kOptimizerState,
  kActivation,
  kInput,
  kTemporary,
  kWorkspace,
  kSecondCopy,  // of a model's weights: a moving average, a teacher, a snapshot
  kKvCache,
  kKept,  // made in training, and still held steps later, though no model and no graph needs it
  kUnknown
};
inline constexpr int kCategories = 11;
const char* CategoryName(Category category);  // "optimizer_state"

enum class PhaseKind : uint8_t { kSetUp, kForward, kBackward, kOptimizerStep, kEvaluation, kBetweenSteps };
const char* PhaseName(PhaseKind phase);  // "optimizer_step"

// One block of the caching allocator from allocation to free. A long run has millions: keep it small.
struct Tensor {
  uint64_t address = 0;
  int64_t bytes = 0;  // as rounded by the allocator
  int64_t born = 0;   // ns
  int64_t died = kNever;
  int32_t device = 0;
  uint32_t stack = 0;          // index into Timeline::stacks, 0: none
  uint32_t layout = 0;         // index into Timeline::layouts, 0: none
  uint32_t node = 0;           // index into Timeline::strings: class of the autograd node, 0: none
  uint32_t forward_stack = 0;  // of the forward whose gradient the node computes, 0: none, or outside backward
  bool grad_mode = false;
  bool inference_mode = false;
  bool backward = false;                // allocated inside the autograd engine
  bool host_copied = false;             // a host-to-device copy arrived in it
  PhaseKind phase = PhaseKind::kSetUp;  // at birth
  PhaseKind died_phase = PhaseKind::kSetUp;
  Category category = Category::kUnknown;  // filled by attribute/
  uint8_t free_list = 0;                   // index into Timeline::free_lists
  int32_t micro_batch = 0;                 // backward passes completed since the last step, at birth
  int64_t step = 0;                        // optimizer steps completed at birth
  int64_t died_step = -1;                  // steps completed at death, -1: alive at the end
  // Filled by attribute/.
  InternedText name;    // parameter or state name, "" where there is none; from the start on, of a block without a
                        // layout, what it is: "cuBLAS workspace"
  InternedText module;  // module path
  InternedText holder;  // Python name that keeps it alive
};
static_assert(sizeof(Tensor) <= 104);

// What a device call gave out, as proto/trace.proto describes it.
enum class MemoryKind : uint8_t {
  kDevice,
  kManaged,
  kHost,
  kRegistered,
  kArray,
  kPhysical,
  kRetained,
  kMapping,
  kPooled,
  kPool,
  kGraph,
  kImported,
  kImportedPhysical,
  kHostPhysical,
  kMulticast,
  kContext,
  kCode
};

struct DeviceAllocation {
  uint64_t address = 0;  // or handle
  int64_t bytes = 0;
  int64_t born = 0;
  int64_t died = kNever;
  int32_t device = 0;
  InternedText library;  // path of the caller
  uint64_t caller = 0;   // offset of the return address in that file, 0: not known
  uint32_t stack = 0;    // index into Timeline::stacks, 0: none
  uint32_t thread = 0;   // as the kernel numbers it
  InternedText api;
  bool caching_allocator = false;  // a segment of PyTorch's allocator, or what is behind it: inside `reserved`
  MemoryKind kind = MemoryKind::kDevice;
  bool on_device = true;  // its bytes are memory of `device` that this process holds, counted here and nowhere else
  uint64_t stream = 0;
  uint64_t handle = 0;  // of a mapping: the memory behind it; of pooled memory: the pool
};

// The caching allocator serves a request from what was freed on the same stream, in the same pool, and from nothing
// else.
struct FreeList {
  int64_t stream = 0;  // c10::StreamId, 0: the default stream
  uint32_t pool = 0;   // a private one (of a MemPool or a CUDA graph), counted from 1; 0: that of everybody else
  bool operator==(const FreeList&) const = default;
};

// A segment of the caching allocator in a private pool, as the allocator's snapshot after a refusal lists it.
struct PrivateSegment {
  uint64_t address = 0;
  int64_t bytes = 0;
  int64_t born = 0;   // ns; 0: not in the trace
  int64_t taken = 0;  // ns, of the snapshot
  uint32_t pool = 0;
  int32_t device = 0;
};

// Memory of one device after an event; `tensors` and `reserved` are the caching allocator's.
struct Sample {
  int64_t time = 0;
  int64_t tensors = 0;
  int64_t reserved = 0;
  // Of the tensor whose birth it was; of other events nothing.
  uint32_t place = 0;  // index into Timeline::stacks, as PlaceOf has it
  PhaseKind phase = PhaseKind::kSetUp;
  bool birth = false;
};

// Device allocations whose events have been folded away: counted up to `until`. Those that lived then are among
// Timeline::device_allocations.
struct FoldedCalls {
  int64_t until = -1;  // ns, -1: nothing was folded
  int64_t made = 0;
  int64_t freed = 0;
};

struct Step {
  int64_t begin = 0;  // when the step before it ended (the first: start of the trace)
  int64_t optimizer_begin = 0;
  int64_t end = 0;
  int64_t micro_batches = 0;  // backward passes since the step before
  int64_t live_at_end = 0;    // bytes in tensors at `end`
  int64_t peak = 0;           // highest bytes in tensors within the step
  uint64_t optimizer = 0;
};

// A module that was on its way to a device when memory ran out. In bytes; what has not arrived counts in its own dtype.
struct ModelMove {
  int64_t arrived = 0;
  int64_t left = 0;
  int64_t trainable = 0;  // of both
};

struct OutOfMemory {
  int64_t time = 0;
  int64_t requested = 0;
  int64_t allocated = 0;
  int64_t reserved = 0;
  int64_t device_free = 0;
  int64_t device_total = 0;
  int32_t device = 0;
  uint32_t stack = 0;
  uint32_t layout = 0;
  uint32_t forward_stack = 0;  // as in Tensor
  bool grad_mode = false;
  bool backward = false;
  std::string buffer;             // without a layout: what was asked for, "cuBLAS workspace"
  std::string text;               // of PyTorch's exception
  int64_t in_private_pools = -1;  // bytes that lie idle in private pools, as the text has it; -1: it does not say
  int64_t limit = 0;  // bytes that the program allows itself (a memory fraction), as the text has it; 0: all
  PhaseKind phase = PhaseKind::kSetUp;
  int64_t step = 0;
  int64_t micro_batch = 0;
  bool fatal = false;  // no later training: the program did not survive it
  bool from_caching_allocator = true;
  bool by_allocator = false;  // a pluggable allocator refused, and no device call of its own had been refused
  // The device call that was refused, where one was recorded.
  std::string library;
  uint64_t caller = 0;
  uint32_t thread = 0;  // 0: not known
  std::string api;
  MemoryKind kind = MemoryKind::kDevice;
  int64_t thread_failed = kNever;  // when the thread that was refused ended of it
  ModelMove move;                  // in which it was refused; empty: in none
};

struct Role {  // what an owner said of a tensor
  int64_t time = 0;
  uint64_t address = 0;
  int64_t bytes = 0;
  Category category = Category::kUnknown;
  std::string name;
  uint64_t owner = 0;
  bool buffer = false;  // a module's buffer: booked as a parameter
  int64_t tensor = -1;  // index into Timeline::tensors of the one that lived there then, -1: none
};

struct Module {
  uint64_t identity = 0;
  uint64_t root = 0;
  std::string path;
  std::string type;
};

struct Optimizer {
  uint64_t identity = 0;
  std::string type;
  std::string options;
  int64_t parameter_bytes = 0;
  int64_t parameter_count = 0;
};

struct ProcessInfo {
  int64_t pid = 0;
  std::vector<std::string> arguments;
  std::vector<std::string> environment;
  std::string working_directory;
  std::string torch_version;
  std::string python_version;
  bool simulated = false;
};

struct DeviceInfo {
  int32_t index = 0;
  std::string name;
  int64_t total = 0;
};

struct GpuProcess {
  int64_t pid = 0;
  int64_t bytes = 0;
  bool self = false;
  std::string name;
};

struct HolderInfo {
  uint64_t address = 0;
  std::string path;
  int64_t tensor = -1;  // index into Timeline::tensors, -1: none lived there
  int64_t time = 0;
};

// When the training or evaluation state changed.
struct PhaseMark {
  int64_t time = 0;
  PhaseKind phase = PhaseKind::kSetUp;
};

// What cudaMemGetInfo answered.
struct MemoryReading {
  int64_t time = 0;
  int32_t device = 0;
  int64_t free = 0;
  int64_t total = 0;
};

// One outermost pass of the autograd engine.
struct BackwardPass {
  int64_t begin = 0;
  int64_t end = kNever;  // kNever: it did not end
};

struct Hook {  // a function that the recorder wants to see
  std::string name;
  std::string library;
  std::string state;  // "hooked", "missing", "not_loaded", "disabled"
  std::string reason;
};

// A way to device memory that no hook follows: what it takes shows in the device's free bytes only.
struct UnknownRoute {
  std::string what;     // "private driver table 195bcbf4-… (heap)"
  std::string library;  // path of whoever takes it
  bool may_allocate = false;
};

// What a GPU timeline said of one tensor, in its windows. Times are ns of the trace.
struct TensorUse {
  int64_t first = 0;        // start of the first work that had its address
  int64_t last = 0;         // end of the last one
  int64_t last_launch = 0;  // when the last one was enqueued
  uint32_t last_stack = 0;
  std::string last_kernel;  // mangled; "" for a copy or a fill
  int64_t uses = 0;
};

// What the launches of the windows did with one tensor, in the order in which they were enqueued (accesses.h). Times
// are those of the launches.
struct TensorAccess {
  int64_t uses = 0;
  int64_t reads = 0;            // uses that may have read it: all that are not known to write only
  int64_t last = -1;            // last use
  uint32_t last_stack = 0;      // index into Timeline::stacks; 0: of a thread without Python, the autograd engine's
  int64_t last_by_python = -1;  // last use by a thread that has a Python stack
  int64_t needed = kNever;      // first use that is not its filling with numbers that come from no other tensor
  uint32_t needed_stack = 0;
  int64_t changed = -1;  // last use that may have changed it
  int64_t copy_of = -1;  // tensor that all of it was copied from, byte for byte, -1: none
  int64_t copied = -1;   // when
  uint32_t copy_stack = 0;
};

struct LaunchMark {  // that something was enqueued
  int64_t time = 0;
  uint32_t stack = 0;  // index into Timeline::stacks, 0: of a thread without Python
};

struct CollectorChange {
  int64_t time = 0;
  int32_t state = 0;  // trace::CollectorState::State
  std::string reason;
};

struct UnseenAllocation {  // by code that no hook stands in front of
  std::string source;      // library, "" where CUPTI did not say
  int64_t bytes = 0;
  int64_t live = 0;  // at the end
  int64_t count = 0;
};

// What the CUPTI collector saw; empty where there was none.
struct GpuTime {
  struct Window {
    int64_t begin = 0;
    int64_t end = 0;
  };
  std::vector<CollectorChange> changes;
  std::vector<Window> windows;        // of the timeline
  std::map<int64_t, TensorUse> uses;  // by index into Timeline::tensors
  std::map<int64_t, TensorAccess> accesses;
  std::vector<LaunchMark> launches;      // in order of time
  std::vector<UnseenAllocation> unseen;  // largest first
  int64_t kernels = 0;
  int64_t copies = 0;
  int64_t fills = 0;
  int64_t last_unknown = -1;       // ns: start of the last kernel that may have used anything, -1: none
  int64_t unknown_parameters = 0;  // kernels whose launch, or its parameters, were not seen
  int64_t graph_kernels = 0;
  int64_t busy = 0;  // ns in which the device of the report ran something
  int64_t dropped = 0;
  int64_t untimed = 0;
  int64_t device_bytes = 0;  // most that CUPTI holds on the device for itself
  int64_t host_bytes = 0;
  int64_t local_memory = 0;  // most that a kernel made the driver set aside
  int64_t modules = 0;
  int64_t module_bytes = 0;
  int64_t last_work = 0;  // ns: start of the last kernel, copy or fill
  // Allocations while the collector watched, of kinds that both the hooks and CUPTI may list.
  int64_t audited_bytes = 0;  // CUPTI's
  int64_t audited_count = 0;
  int64_t unlisted_bytes = 0;   // the hooks', without their like in CUPTI's list
  int64_t unwatched_bytes = 0;  // the hooks', while another profiler had CUPTI
};

// A stretch of time.
struct Stretch {
  int64_t begin = 0;
  int64_t end = kNever;
};

// A range that the program named itself (NVTX).
struct NamedRange {
  std::string name;
  int64_t begin = 0;
  int64_t end = kNever;
  uint32_t thread = 0;
};

struct Timeline {
  GpuTime gpu_time;
  std::vector<NamedRange> ranges;  // in order of begin
  ProcessInfo process;
  std::vector<DeviceInfo> devices;
  std::vector<std::string> strings;
  std::vector<Frame> frames;
  std::vector<Stack> stacks;                                    // [0] is empty
  std::vector<Layout> layouts;                                  // [0] is empty
  std::vector<Tensor> tensors;                                  // in order of birth
  std::vector<FreeList> free_lists = std::vector<FreeList>(1);  // [0]: the default stream, no private pool
  std::vector<PrivateSegment> private_segments;
  // The tensors are those of a CUDAPluggableAllocator: PyTorch's own allocator has nothing to do with them. What it
  // holds is what holds a tensor.
  bool pluggable = false;
  std::vector<DeviceAllocation> device_allocations;
  // Callers of device calls by library and offset, as far as the libraries are on this machine, unchanged.
  std::map<std::pair<std::string, uint64_t>, std::string> functions;
  std::map<std::string, std::string> nameless;  // libraries with callers that have no name there: why
  std::vector<Sample> samples;                  // of `device` below, in order of time
  std::vector<Step> steps;
  std::vector<OutOfMemory> out_of_memory;
  std::vector<Role> roles;
  std::vector<Module> modules;  // those of a model in the order in which it lists them
  std::vector<Optimizer> optimizers;
  std::vector<GpuProcess> gpu_processes;  // the last list seen, of `device`
  std::vector<HolderInfo> holders;
  std::vector<PhaseMark> phases;
  std::vector<MemoryReading> memory_readings;
  std::vector<BackwardPass> backward_passes;
  std::vector<Hook> hooks;
  std::vector<UnknownRoute> unknown_routes;
  std::vector<std::string> notes;                // the recorder's own remarks
  std::map<uint32_t, std::string> thread_names;  // by the kernel's number
  int32_t device = 0;        // the device that the report is about: where memory ran out, else the fullest
  int64_t end = 0;           // time of the last event
  int64_t device_total = 0;  // last cudaMemGetInfo before the moment of the report, 0: never seen
  int64_t device_free = 0;
  bool exited = false;
  int64_t exit_status = 0;
  bool without_handlers = false;             // it ended by _exit()
  ProcessLife life = ProcessLife::kUnknown;  // of a process whose end is not in the trace
  int64_t first_training_forward = kNever;   // ns
  // Loss and damage.
  int64_t events = 0;
  int64_t dropped = 0;
  int64_t recycled_chunks = 0;
  int64_t left_out = 0;          // tensors of a long trace that are not among `tensors` (selection.h)
  std::vector<Stretch> whole;    // when all tensors are; empty: always. In between, those that lived long
  int64_t folded = 0;            // events that live on in summaries only
  int64_t folded_until = 0;      // ns: of what was freed before, only the bytes in each step are known
  FoldedCalls folded_calls;      // of `device`
  int64_t lost_steps = 0;        // completed before `folded_until`, and counted only: they are not among `steps`
  int64_t unhooked_calls = 0;    // device calls that no hook understood
  int64_t missed_stacks = 0;     // Python stacks that could not be taken
  int64_t unknown_frees = 0;     // frees of addresses that no known allocation had
  int64_t replaced_tensors = 0;  // tensors whose free is missing: another was allocated in their place
  std::vector<std::string> damage;
  std::string recorder_state;
  std::string path;
};

}  // namespace oomtrace
