// The one function that liboomtrace_cupti.so exports.
#include "cupti/collector.h"
#include "cupti/interface.h"

using namespace oomtrace::cupti;

namespace {

void Start(void* library, const Sink* sink, const Options& options) {
  Api api;
  if (FindApi(library, &api) != nullptr) {
    CollectorState::Get().Refuse(sink, "the loaded CUPTI lacks a function that every version since CUDA 12.1 has");
  } else {
    CollectorState::Get().Start(api, sink, options);
  }
}

constexpr Collector kCollector = {
    .start = Start,
    .open_window = [] { CollectorState::Get().OpenWindow(); },
    .close_window = [](const char* reason) { CollectorState::Get().CloseWindow(reason); },
    .push = [](uint64_t launch) { return CollectorState::Get().Push(launch); },
    .pop = [] { CollectorState::Get().Pop(); },
    .yield = [](const char* who) { CollectorState::Get().Yield(who); },
    .resume = [](uint64_t (*clock)()) { CollectorState::Get().Resume(clock); },
    .nudge = [] { CollectorState::Get().Nudge(); },
    .stop = [] { CollectorState::Get().Stop(); },
};

}  // namespace

extern "C" __attribute__((visibility("default"))) const Collector* oomtrace_cupti_collector_v1() { return &kCollector; }
