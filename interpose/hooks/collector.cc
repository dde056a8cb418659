#include "interpose/hooks/collector.h"

#include <dlfcn.h>
#include <stdlib.h>

#include <atomic>
#include <cstring>

#include "cupti/interface.h"
#include "interpose/hooks/real.h"
#include "interpose/record/gpu_events.h"
#include "interpose/record/text.h"

namespace oomtrace {

constinit std::atomic<bool> window_open{false};

namespace {

using cupti::Collector;

// Records of a window, about 25 bytes each: what one trace may spend on a timeline.
constexpr uint64_t kMostActivities = 4000000;
constexpr char kLibrary[] = "liboomtrace_cupti.so";

struct Settings {
  CuptiTier tier = CuptiTier::kOff;
  StepWindow window;
};

Settings settings;
std::atomic<const Collector*> collector{nullptr};
std::atomic<bool> tried{false};
std::atomic<bool> subscribed_elsewhere{false};
std::atomic<uint64_t> steps{0};
std::atomic<uint64_t> counted_optimizer{0};

// What came before the recording: states, and moments on both clocks.
struct Early {
  bool is_clock;
  CollectorStateEvent state;
  uint64_t time;
  char reason[160];
};
constexpr uint32_t kMostEarly = 8;
Early early[kMostEarly];
std::atomic<uint32_t> early_count{0};
SpinLock early_lock;

void KeepEarly(const Early& event) {
  SpinLockHolder hold(early_lock);
  const uint32_t count = early_count.load(std::memory_order_relaxed);
  if (count < kMostEarly) early[count] = event;
  if (count < kMostEarly) early_count.store(count + 1, std::memory_order_release);
}

void OnActivity(const cupti::Activity& activity) {
  Entry entry(Cause::kFact);
  if (!entry) return;
  GpuActivityEvent event;
  event.kind = static_cast<uint32_t>(activity.kind);
  event.correlation = activity.correlation;
  event.start = activity.start;
  event.duration = activity.end - activity.start;
  event.stream = activity.stream;
  event.device = activity.device;
  if (activity.name != nullptr) event.name = entry.recorder().facts().String(activity.name);
  event.bytes = activity.bytes;
  event.local_memory = activity.local_memory;
  event.graph = activity.graph;
  RecordGpuActivity(entry.thread(), event);
}

void OnMemory(const cupti::Memory& memory) {
  Entry entry(Cause::kFact);
  if (!entry) return;
  CuptiMemoryEvent event;
  event.address = memory.address;
  event.bytes = memory.bytes;
  event.release = memory.release;
  event.kind = memory.kind;
  event.time = memory.time;
  event.device = memory.device;
  if (memory.name != nullptr) event.name = entry.recorder().facts().String(memory.name);
  if (memory.source != nullptr) event.source = entry.recorder().facts().Library(memory.source);
  event.pool_reserved = memory.pool_reserved;
  event.pool_used = memory.pool_used;
  RecordCuptiMemory(entry.thread(), event);
}

void OnResource(const cupti::Resource& resource) {
  Entry entry(Cause::kFact);
  if (!entry) return;
  GpuResourceEvent event;
  event.kind = static_cast<uint32_t>(resource.kind);
  event.identity = resource.identity;
  event.bytes = resource.bytes;
  event.time = resource.time;
  event.duration = resource.duration;
  event.device = resource.device;
  event.detail = resource.detail;
  RecordGpuResource(entry.thread(), event);
}

void OnCorrelation(uint64_t launch, uint32_t correlation) {
  Entry entry(Cause::kFact);
  if (entry) RecordCorrelation(entry.thread(), launch, correlation);
}

void OnState(const cupti::StateChange& change) {
  Early event = {};
  event.state.ticks = Ticks();
  event.state.state = static_cast<uint32_t>(change.state);
  event.state.version = change.version;
  event.state.dropped = change.dropped;
  event.state.device_bytes = change.device_bytes;
  event.state.host_bytes = change.host_bytes;
  event.state.untimed = change.untimed;
  window_open = change.state == cupti::State::kTimeline;
  Entry entry(Cause::kFact);
  if (entry) {
    if (change.reason[0] != 0) event.state.reason = entry.recorder().facts().String(change.reason);
    RecordCollectorState(entry.thread(), event.state);
  } else {
    strncpy(event.reason, change.reason, sizeof(event.reason) - 1);
    KeepEarly(event);
  }
}

void OnClock(uint64_t time) {
  const uint64_t ticks = Ticks();
  Entry entry(Cause::kFact);
  if (entry) {
    RecordCollectorClock(entry.thread(), ticks, time);
  } else {
    Early event = {};
    event.is_clock = true;
    event.state.ticks = ticks;
    event.time = time;
    KeepEarly(event);
  }
}

constexpr cupti::Sink kSink = {OnActivity, OnMemory, OnResource, OnCorrelation, OnState, OnClock};

void Refuse(const char* reason) {
  cupti::StateChange change;
  change.reason = reason;
  OnState(change);
}

bool SameLibrary(const void* a, const void* b) {
  Dl_info first, second;
  return dladdr(a, &first) != 0 && dladdr(b, &second) != 0 && first.dli_fbase == second.dli_fbase;
}

// The CUPTI of the same CUDA release as the runtime in use: the copy that PyTorch has mapped, else the one that lies
// where NVIDIA's packages put it, beside the runtime. Never another: Triton brings one of its own.
void* FindCupti() {
  void* count = FindIn(HookLibrary::kCudart, "cudaRuntimeGetVersion");
  int version = 0;
  if (count == nullptr || reinterpret_cast<int (*)(int*)>(count)(&version) != 0) return nullptr;
  Text<32> soname;
  soname.Add("libcupti.so.").AddNumber(static_cast<uint64_t>(version / 1000));
  if (void* mapped = dlopen(soname.c_str(), RTLD_NOW | RTLD_NOLOAD)) return mapped;
  Dl_info runtime;
  if (dladdr(count, &runtime) == 0 || runtime.dli_fname == nullptr) return nullptr;
  const char* slash = strrchr(runtime.dli_fname, '/');
  if (slash == nullptr) return nullptr;
  for (const char* folder : {"/", "/../../cuda_cupti/lib/", "/../extras/CUPTI/lib64/"}) {
    Text<4096> path;
    path.Add(runtime.dli_fname, static_cast<size_t>(slash - runtime.dli_fname)).Add(folder).Add(soname.c_str());
    if (void* loaded = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return loaded;
  }
  return nullptr;
}

// nullptr where CUPTI may be called.
const char* WhyNot(void* library) {
  if (library == nullptr) return "there is no libcupti of this CUDA release in the process or beside its runtime";
  const void* simulated = dlsym(RTLD_DEFAULT, "oomtrace_simulated_gpu");
  if (simulated != nullptr) {
    const bool pair = SameLibrary(simulated, dlsym(library, "cuptiGetVersion"));
    return pair ? nullptr : "the GPU is simulated and this CUPTI is not";
  }
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (driver == nullptr) return "there is no driver";
  auto* ask = reinterpret_cast<int (*)(int*)>(dlsym(driver, "cuDriverGetVersion"));
  int version = 0;
  return ask != nullptr && ask(&version) == 0 && version > 0 ? nullptr : "the driver does not answer";
}

// Whether a variable names a tool that wants CUPTI, or NVTX, for itself.
bool IsForeign(const char* variable) {
  const char* value = getenv(variable);
  return value != nullptr && value[0] != 0 && strstr(value, "liboomtrace") == nullptr;
}

const Collector* Load() {
  Dl_info here;
  if (dladdr(reinterpret_cast<const void*>(&Load), &here) == 0 || here.dli_fname == nullptr) return nullptr;
  const char* slash = strrchr(here.dli_fname, '/');
  Text<4096> path;
  if (slash != nullptr) path.Add(here.dli_fname, static_cast<size_t>(slash - here.dli_fname) + 1);
  path.Add(kLibrary);
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return nullptr;
  auto* get = reinterpret_cast<cupti::GetCollector*>(dlsym(library, cupti::kGetCollector));
  return get != nullptr ? get() : nullptr;
}

void UpdateWindow() {
  const Collector* control = collector.load(std::memory_order_acquire);
  if (control == nullptr || settings.tier != CuptiTier::kTimeline) return;
  const uint64_t done = steps.load(std::memory_order_relaxed);
  if (done + 1 == settings.window.first) control->open_window();
  if (done == settings.window.last) control->close_window("the steps asked for are over");
}

void StopAtExit(int, void*) {
  if (const Collector* control = collector.load(std::memory_order_acquire)) control->stop();
}

}  // namespace

void PrepareCollector() {
  const char* tier = getenv("OOMTRACE_CUPTI");
  const char* steps = getenv("OOMTRACE_TIMELINE");
  const bool named = tier != nullptr && ParseTier(tier, &settings.tier);
  if (steps == nullptr || steps[0] == 0 || (named && settings.tier == CuptiTier::kOff)) return;
  settings.tier = CuptiTier::kTimeline;
  ParseSteps(steps, &settings.window);
}

void DevicesFound() {
  if (settings.tier == CuptiTier::kOff || tried.load(std::memory_order_relaxed)) [[likely]]
    return;
  if (Recorder::Current() == nullptr || tried.exchange(true)) return;
  if (getenv("NSYS_PROFILING_SESSION_ID") != nullptr || IsForeign("CUDA_INJECTION64_PATH") ||
      IsForeign("NVTX_INJECTION64_PATH"))
    return Refuse("another tool is injected into this process");
  void* library = FindCupti();
  if (const char* reason = WhyNot(library)) return Refuse(reason);
  const Collector* control = Load();
  if (control == nullptr) return Refuse("liboomtrace_cupti.so is not beside liboomtrace.so");
  cupti::Options options;
  options.timeline = settings.tier == CuptiTier::kTimeline;
  options.most_activities = kMostActivities;
  options.foreign_subscriber = subscribed_elsewhere.load(std::memory_order_relaxed);
  control->start(library, &kSink, options);
  collector.store(control, std::memory_order_release);
  UpdateWindow();
}

void CollectorRecordingStarted(Recorder& recorder) {
  if (settings.tier == CuptiTier::kOff) return;
  on_exit(StopAtExit, nullptr);
  Entry entry(Cause::kFact);
  if (!entry) return;
  SpinLockHolder hold(early_lock);
  for (uint32_t i = 0; i < early_count.load(std::memory_order_relaxed); ++i) {
    Early& event = early[i];
    if (event.is_clock) {
      RecordCollectorClock(entry.thread(), event.state.ticks, event.time);
      continue;
    }
    if (event.reason[0] != 0) event.state.reason = recorder.facts().String(event.reason);
    RecordCollectorState(entry.thread(), event.state);
  }
  early_count.store(0, std::memory_order_relaxed);
}

void CollectorStepEnd(uint64_t optimizer) {
  if (settings.tier != CuptiTier::kTimeline) return;
  // Of several optimizers the first one counts.
  uint64_t none = 0;
  counted_optimizer.compare_exchange_strong(none, optimizer);
  if (counted_optimizer.load(std::memory_order_relaxed) != optimizer) return;
  steps.fetch_add(1);
  UpdateWindow();
}

const StepWindow* TimelineWindow() { return settings.tier == CuptiTier::kTimeline ? &settings.window : nullptr; }

void NudgeCollector() {
  if (const Collector* control = collector.load(std::memory_order_acquire)) control->nudge();
}

bool BeginLaunch(uint64_t launch) {
  const Collector* control = collector.load(std::memory_order_acquire);
  return control != nullptr && control->push(launch);
}

void EndLaunch() {
  if (const Collector* control = collector.load(std::memory_order_acquire)) control->pop();
}

void ForeignCupti(const char* who) {
  if (const Collector* control = collector.load(std::memory_order_acquire)) control->yield(who);
}

void ForeignCuptiDone(uint64_t (*clock)()) {
  if (const Collector* control = collector.load(std::memory_order_acquire)) control->resume(clock);
}

void ForeignSubscriber(bool subscribed) { subscribed_elsewhere.store(subscribed, std::memory_order_relaxed); }

}  // namespace oomtrace
