#include "interpose/hooks/unknown_routes.h"

#include <sched.h>

#include <atomic>
#include <cstring>

namespace oomtrace {
namespace {

constexpr size_t kMostRoutes = 64;  // distinct ones; the driver has about ten private tables
constexpr size_t kLongestName = 120;

struct Route {
  wire::RouteKind kind;
  bool may_allocate;
  uint32_t calls;  // not counted in the trace's header yet
  bool written;    // in the trace of `recorder`
  const Recorder* recorder;
  const void* caller;
  char name[kLongestName];
};

// A thread that was in here at a fork holds it for ever in the child: waiting ends, and the route goes unnamed.
constexpr int kMostWaits = 1000;
constinit std::atomic<bool> held{false};

class TableHolder {
 public:
  TableHolder() {
    for (int i = 0; i < kMostWaits && !(holds_ = !held.exchange(true, std::memory_order_acquire)); ++i) sched_yield();
  }
  ~TableHolder() {
    if (holds_) held.store(false, std::memory_order_release);
  }
  TableHolder(const TableHolder&) = delete;
  TableHolder& operator=(const TableHolder&) = delete;
  explicit operator bool() const { return holds_; }

 private:
  bool holds_ = false;
};

constinit Route routes[kMostRoutes] = {};
constinit size_t route_count = 0;

Route* FindOrAdd(wire::RouteKind kind, std::string_view name, const void* caller, bool may_allocate) {
  for (size_t i = 0; i < route_count; ++i)
    if (routes[i].kind == kind && name == routes[i].name) return &routes[i];
  if (route_count == kMostRoutes) return nullptr;
  Route& route = routes[route_count++];
  route.kind = kind;
  route.may_allocate = may_allocate;
  route.caller = caller;
  memcpy(route.name, name.data(), name.size());
  return &route;
}

// Out of the lock: writing takes locks of its own.
void Write(Recorder& recorder, const Route& route) {
  const uint32_t library = recorder.libraries().Find(route.caller, recorder.facts()).id;
  const size_t size = strlen(route.name);
  recorder.facts().Write(size + 64, [&](ProtoWriter& proto) {
    uint8_t* message = proto.Begin(wire::kUnknownRoute);
    proto.Uint(1, static_cast<uint32_t>(route.kind));
    proto.Bytes(2, route.name, size);
    proto.Uint(3, library);
    proto.Bool(4, route.may_allocate);
    proto.End(message);
  });
}

// Takes one that has something to write; false: there is none.
bool TakeNext(const Recorder& recorder, Route* taken) {
  const TableHolder hold;
  for (size_t i = 0; hold && i < route_count; ++i) {
    Route& route = routes[i];
    if (route.recorder != &recorder) route.written = false;  // another process's trace, before a fork
    if (route.written && route.calls == 0) continue;
    *taken = route;
    route.recorder = &recorder;
    route.written = true;
    route.calls = 0;
    return true;
  }
  return false;
}

}  // namespace

void NoteUnknownRoute(wire::RouteKind kind, std::string_view name, const void* caller, bool may_allocate) {
  name = std::string_view(name.data(), name.size() < kLongestName ? name.size() : kLongestName - 1);
  {
    const TableHolder hold;
    Route* route = hold ? FindOrAdd(kind, name, caller, may_allocate) : nullptr;
    if (route == nullptr) return;
    ++route->calls;
  }
  Entry entry(Cause::kFact);
  if (entry) WriteUnknownRoutes(entry.recorder());
}

void WriteUnknownRoutes(Recorder& recorder) {
  Route route;
  while (TakeNext(recorder, &route)) {
    for (uint32_t i = 0; i < route.calls; ++i) recorder.CountUnknownCall();
    if (!route.written) Write(recorder, route);
  }
}

}  // namespace oomtrace
