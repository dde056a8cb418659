// What the recorder and its CUPTI collector say to each other. The collector (liboomtrace_cupti.so) is loaded by the
// recorder when it is asked for and knows nothing of traces; the recorder knows nothing of CUPTI.
//
// Times are nanoseconds since the collector's start, sizes bytes. Text is only valid during the call.
#pragma once

#include <cstdint>

namespace oomtrace::cupti {

enum class State : uint32_t { kOff = 1, kMemory = 2, kTimeline = 3, kYielded = 4, kDead = 5 };  // trace.proto

enum class ActivityKind : uint32_t { kKernel = 1, kCopy = 2, kFill = 3 };

struct Activity {
  ActivityKind kind = ActivityKind::kKernel;
  uint32_t correlation = 0;
  uint64_t start = 0;
  uint64_t end = 0;
  uint32_t device = 0;
  uint32_t stream = 0;
  const char* name = nullptr;  // of a kernel, mangled
  uint64_t bytes = 0;
  uint64_t local_memory = 0;
  uint32_t graph = 0;
};

struct Memory {
  bool release = false;
  uint32_t kind = 0;  // CUpti_ActivityMemoryKind
  uint64_t address = 0;
  uint64_t bytes = 0;
  uint64_t time = 0;
  uint32_t device = 0;
  const char* name = nullptr;
  const char* source = nullptr;
  uint64_t pool_reserved = 0;
  uint64_t pool_used = 0;
};

enum class ResourceKind : uint32_t { kModule = 1, kContext = 2, kPool = 3, kOverhead = 4 };

struct Resource {
  ResourceKind kind = ResourceKind::kModule;
  uint64_t identity = 0;
  uint64_t bytes = 0;
  uint64_t time = 0;
  uint64_t duration = 0;
  uint32_t device = 0;
  uint32_t detail = 0;
};

struct StateChange {
  State state = State::kOff;
  const char* reason = "";
  uint32_t version = 0;
  uint64_t dropped = 0;
  uint64_t device_bytes = 0;
  uint64_t host_bytes = 0;
  uint64_t untimed = 0;
};

// Called on whatever thread CUPTI hands a buffer over, or the one that changed the state. Must not call CUPTI or CUDA.
struct Sink {
  void (*activity)(const Activity&);
  void (*memory)(const Memory&);
  void (*resource)(const Resource&);
  void (*correlation)(uint64_t launch, uint32_t correlation);
  void (*state)(const StateChange&);
  void (*clock)(uint64_t time);  // now
};

struct Options {
  bool timeline = false;                    // windows will be opened: kernels are prepared for
  bool foreign_subscriber = false;          // somebody of this process holds CUPTI's one subscriber: it is not tried
  uint64_t most_activities = ~uint64_t{0};  // after that many kernels, copies and fills no window is open any more
};

// Functions of the collector. One collector a process; any thread, none of them from a callback of the sink.
struct Collector {
  // `library`: dlopen's handle of the libcupti that the process uses. Only where a driver is known to work. The answer
  // comes through sink->state.
  void (*start)(void* library, const Sink* sink, const Options& options);
  void (*open_window)();
  void (*close_window)(const char* reason);
  // Around a launch in a window, on the launching thread. False: no window is open; then there is nothing to pop.
  bool (*push)(uint64_t launch);
  void (*pop)();
  // Another client of this process is about to use CUPTI, in front of its call.
  void (*yield)(const char* who);
  // It is done: the collector comes back a while later. `clock` is the timestamp function it left installed.
  void (*resume)(uint64_t (*clock)());
  // Hands over what is complete, soon and on another thread.
  void (*nudge)();
  // The end of the process: hands over everything and makes no call from then on.
  void (*stop)();
};

// The one exported function, by its name.
using GetCollector = const Collector*();
inline constexpr char kGetCollector[] = "oomtrace_cupti_collector_v1";

}  // namespace oomtrace::cupti
