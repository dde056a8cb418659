#include "interpose/hooks/refusals.h"

#include <atomic>

#include "interpose/hooks/attribution.h"
#include "interpose/hooks/cuda_query.h"
#include "interpose/hooks/scopes.h"
#include "interpose/python/python_part.h"
#include "interpose/record/clock.h"

namespace oomtrace {
namespace {

// From a refusal to its exception PyTorch asks NVML and formats a text: milliseconds. One that was survived (PyTorch
// freed memory and tried again) has no exception, and must not be taken for a later one's.
constexpr uint64_t kLongestWayNs = 1000000000;
// Programs may live on refusals (a search for the largest batch); the texts are kept for good.
constexpr uint32_t kMostTexts = 64;

std::atomic<uint32_t> texts{0};

bool FollowsRefusal(ThreadState& thread) {
  const uint64_t at = thread.refused_at;
  thread.refused_at = 0;
  return at != 0 && ClockNs(CLOCK_MONOTONIC_COARSE) - at < kLongestWayNs;
}

}  // namespace

void RecordRefusal(Entry& entry, const Refusal& refusal, const Attribution& attribution) {
  RecordOutOfMemory(entry.thread(), refusal, attribution);
  entry.recorder().NoteOutOfMemory();
  entry.thread().refused_at = ClockNs(CLOCK_MONOTONIC_COARSE);
}

void RecordRefusalException(std::string_view text) {
  bool told;
  {
    Entry entry(Cause::kMemory);
    if (!entry) return;
    told = FollowsRefusal(entry.thread());
    const uint32_t device = CurrentDevice();
    if (!told) {
      Refusal refusal;
      refusal.source = wire::OutOfMemorySource::kException;
      refusal.device = device;
      QueryMemory(&refusal.device_free, &refusal.device_total);
      RecordRefusal(entry, refusal, AttributeAllocation(entry.thread()));
      entry.thread().refused_at = 0;
    }
    if (texts.fetch_add(1, std::memory_order_relaxed) < kMostTexts)
      RecordRefusalText(entry.thread(), entry.recorder().facts().String(text), device);
  }
  if (told) return;
  ForgetFactory();
  RequestPythonPart(PythonTask::kOutOfMemory);
}

}  // namespace oomtrace
