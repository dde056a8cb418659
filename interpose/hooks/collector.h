// The recorder's side of the CUPTI collector (cupti/interface.h): when it may start, when windows of the timeline open
// and close, and how what it hands over becomes events.
//
//   OOMTRACE_CUPTI      off (default), mem or timeline
//   OOMTRACE_TIMELINE   which optimizer steps are in the window: N, the first N, or A-B, counted from 1; set: timeline
//
// CUPTI is never called without a driver that is known to work (libcupti 13.2 overflows its stack then): the collector
// starts once the CUDA runtime has counted devices, and on the simulated GPU only with the simulated CUPTI.
#pragma once

#include <atomic>
#include <cstdint>

#include "interpose/record/recorder.h"
#include "interpose/record/settings.h"
#include "interpose/record/wire.h"

namespace oomtrace {

// From the library's beginning: reads the environment.
void PrepareCollector();
// The CUDA runtime has found devices. No lock is held. Cheap where no collector is asked for.
void DevicesFound();
// Armed → Recording.
void CollectorRecordingStarted(Recorder& recorder);
// An optimizer's step is over.
void CollectorStepEnd(uint64_t optimizer);
// The window of the timeline that was asked for; nullptr: none was.
const StepWindow* TimelineWindow();
// Memory has run out: what is complete is handed over soon.
void NudgeCollector();

// Whether launches are to be recorded: one load.
extern std::atomic<bool> window_open;
inline bool WindowOpen() { return window_open.load(std::memory_order_relaxed); }
// Around a launch, with its number. False: not needed after all; then no EndLaunch.
bool BeginLaunch(uint64_t launch);
void EndLaunch();

// Another client of this process uses CUPTI: in front of its calls, and when it is done. `subscribed`: it holds the
// subscriber.
void ForeignCupti(const char* who);
void ForeignCuptiDone(uint64_t (*clock)());
void ForeignSubscriber(bool subscribed);

}  // namespace oomtrace
