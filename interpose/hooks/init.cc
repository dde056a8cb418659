// The library's beginning: nothing happens here but preparing the pages that hooks look at.
#include "interpose/hooks/binding_audit.h"
#include "interpose/hooks/collector.h"
#include "interpose/hooks/hook_states.h"
#include "interpose/hooks/nvtx.h"
#include "interpose/hooks/real.h"
#include "interpose/hooks/system_facts.h"
#include "interpose/hooks/torch_pluggable.h"
#include "interpose/hooks/unknown_routes.h"
#include "interpose/python/py_api.h"
#include "interpose/python/python_part.h"
#include "interpose/record/recorder.h"
#include "interpose/record/wire.h"

namespace oomtrace {

void WriteHooks(Facts& facts) {
  for (uint32_t i = 0; i < static_cast<uint32_t>(HookId::kCount); ++i) {
    const auto id = static_cast<HookId>(i);
    const HookEntry& hook = HookOf(id);
    if (hook.library == HookLibrary::kNvtx) continue;  // called by a library's own table, not found by name
    wire::HookState state = wire::HookState::kHooked;
    const char* reason = "";
    if (!LibraryLoaded(hook.library)) {
      state = wire::HookState::kNotLoaded;
    } else if (FindReal(id, nullptr) == nullptr) {
      state = wire::HookState::kMissing;
      reason = "this version of the library has no such function";
    } else if (id == HookId::kDlsym && !DlsymHooked()) {
      state = wire::HookState::kDisabled;
      reason = "OOMTRACE_DLSYM=0: statically linked CUDA runtimes are not seen";
    }
    facts.Hook(hook.symbol, LibraryName(hook.library), static_cast<uint32_t>(state), reason);
  }
}

namespace {

// The start may lie under the lock of PyTorch's allocator: where there is an interpreter, its part writes the hooks.
void OnStart(Recorder& recorder) {
  if (Python() == nullptr) WriteHooks(recorder.facts());
  WriteSystemFacts(recorder);
  WriteUnknownRoutes(recorder);
  CollectorRecordingStarted(recorder);
  WriteOpenRanges();
  RequestPythonPart(PythonTask::kBegin);
}

void OnExit() {
  RecordAbandonedRequest();
  AuditBindings();
}

__attribute__((constructor)) void Initialize() {
  // Not when they are called, which may be in a signal handler.
  FindReal(HookId::kExitNow, nullptr);
  FindReal(HookId::kExitNowC99, nullptr);
  PrepareCollector();
  Recorder::OnStart(OnStart);
  Recorder::OnExit(OnExit);
  Recorder::Initialize();
}

}  // namespace
}  // namespace oomtrace
