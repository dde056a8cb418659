#include "interpose/hooks/attribution.h"

#include <atomic>

#include "interpose/hooks/forward_stacks.h"
#include "interpose/hooks/native_callers.h"
#include "interpose/hooks/real.h"
#include "interpose/hooks/scopes.h"
#include "interpose/hooks/torch_types.h"
#include "interpose/python/python_stack.h"
#include "interpose/record/hash.h"
#include "interpose/record/recent_table.h"

namespace oomtrace {

constinit std::atomic<bool> torch_resolved{false};
constinit thread_local ThreadScopes thread_scopes __attribute__((tls_model("initial-exec"))) = {};

namespace {

using ModeQuery = bool();
using DispatchModeQuery = bool(bool skip_infrastructure);
struct TorchStream {  // c10::cuda::CUDAStream, two registers
  Device device;
  int64_t id;
};
using StreamQuery = TorchStream(int8_t device);

std::atomic<uint32_t> backward_stack{0};
std::atomic<ModeQuery*> grad_mode{nullptr};
std::atomic<ModeQuery*> inference_mode{nullptr};
std::atomic<DispatchModeQuery*> dispatch_modes{nullptr};
std::atomic<StreamQuery*> current_stream{nullptr};

// From what an allocation is known by to its Site.id. The facts know sites by what they say.
RecentTable<1 << 16> recent_sites;
// The same for what PyTorch asks of the device itself, to NativeCallers.id: where each tensor is a device call, this is
// hot.
RecentTable<1 << 12> recent_callers;
constexpr uint32_t kNoDevice = 0xff;

bool Ask(const std::atomic<ModeQuery*>& query, bool otherwise) {
  ModeQuery* function = query.load(std::memory_order_relaxed);
  return function != nullptr ? function() : otherwise;
}

// PyTorch's allocator was asked for a block on it: c10::cuda::getCurrentCUDAStream, a look at a thread-local table that
// PyTorch has just made the same way.
int64_t StreamOf(uint32_t device) {
  StreamQuery* query = current_stream.load(std::memory_order_relaxed);
  return query != nullptr ? query(static_cast<int8_t>(device)).id : 0;
}

ContextState CurrentContext(const Recorder& recorder, const void* here) {
  ContextState context;
  context.grad_mode = Ask(grad_mode, true);
  context.inference_mode = Ask(inference_mode, false);
  if (auto* node = Scope<NodeState>::Live(thread_scopes.node, here)) {
    context.backward = true;
    context.node = node->state().class_name();
    context.forward_stack = ForwardStackOf(recorder, node->state().node);
  } else if (Scope<EngineState>::Live(thread_scopes.engine, here) != nullptr) {
    context.backward = true;
  }
  return context;
}

// What an allocation is known by, nothing of it looked up yet.
struct RawAttribution {
  RawStack stack;
  bool walked;
  const LayoutState* layout;  // nullptr: no tensor factory is running
  ContextState context;

  RawAttribution(const Recorder& recorder, const void* here)
      : walked(WalkPythonStack(&stack)), context(CurrentContext(recorder, here)) {
    auto* factory = Scope<LayoutState>::Live(thread_scopes.factory, here);
    layout = factory != nullptr ? &factory->state() : nullptr;
  }
  bool in_backward_stack() const { return !walked && context.backward; }
};

Attribution Intern(Recorder& recorder, const RawAttribution& raw) {
  Attribution attribution;
  if (raw.walked) attribution.stack = InternPythonStack(recorder, raw.stack);
  if (attribution.stack == 0 && raw.context.backward)
    attribution.stack = backward_stack.load(std::memory_order_relaxed);
  if (raw.layout != nullptr) attribution.layout = recorder.facts().Layout(*raw.layout);
  attribution.context = recorder.facts().Context(raw.context);
  return attribution;
}

[[gnu::always_inline]] inline uint64_t SiteKey(const Recorder& recorder, const RawAttribution& raw, uint64_t bytes,
                                               uint32_t device) {
  uint64_t stack = 0;
  if (raw.walked) stack = raw.stack.hash;
  if (raw.in_backward_stack()) stack = backward_stack.load(std::memory_order_relaxed);
  const uint64_t layout = raw.layout != nullptr ? Facts::HashOf(*raw.layout) : 0;
  const uint64_t place = Mix(Mix(stack, layout), Facts::HashOf(raw.context));
  return Mix(place ^ reinterpret_cast<uintptr_t>(&recorder), bytes ^ static_cast<uint64_t>(device) << 56);
}

__attribute__((noinline)) Attribution NewSite(Recorder& recorder, RawAttribution raw, uint64_t key, uint64_t bytes,
                                              uint32_t device, const HookFrame& hook) {
  if (raw.layout == nullptr) raw.context.native = FindNativeCallers(recorder, hook);
  Attribution attribution = Intern(recorder, raw);
  const uint64_t parts = Mix(attribution.stack | static_cast<uint64_t>(attribution.layout) << 32, attribution.context);
  const uint64_t content = Mix(parts, bytes ^ static_cast<uint64_t>(device) << 56);
  attribution.site = recorder.facts().FindSite(content);
  if (attribution.site == 0) {
    attribution.site =
        recorder.facts().AddSite(content, {bytes, attribution.stack, attribution.layout, attribution.context, device});
  }
  if (attribution.site != 0) recent_sites.Insert(key, attribution.site);
  return attribution;
}

}  // namespace

void ResolveTorchOnce() {
  for (uint32_t i = 0; i < static_cast<uint32_t>(HookId::kCount); ++i) {
    if (HookOf(static_cast<HookId>(i)).library < HookLibrary::kCudart) FindReal(static_cast<HookId>(i), nullptr);
  }
  grad_mode = reinterpret_cast<ModeQuery*>(FindIn(HookLibrary::kC10, "_ZN3c108GradMode10is_enabledEv"));
  inference_mode = reinterpret_cast<ModeQuery*>(FindIn(HookLibrary::kC10, "_ZN3c1013InferenceMode10is_enabledEv"));
  dispatch_modes = reinterpret_cast<DispatchModeQuery*>(
      FindIn(HookLibrary::kC10, "_ZN3c104impl20TorchDispatchModeTLS13any_modes_setEb"));
  // In libc10_cuda.so, which libtorch_cuda.so brings along.
  current_stream =
      reinterpret_cast<StreamQuery*>(FindIn(HookLibrary::kTorchCuda, "_ZN3c104cuda20getCurrentCUDAStreamEa"));
  ResolveForwardStacks();
  torch_resolved.store(true, std::memory_order_release);
}

// The infrastructure's modes are those of tracing: fake tensors, proxies, functionalization. A mode of the user (a FLOP
// counter, a checkpointing policy) runs the real thing.
bool Tracing() {
  DispatchModeQuery* modes = dispatch_modes.load(std::memory_order_relaxed);
  return modes != nullptr && modes(false) && !modes(true);
}

void SetBackwardStack(uint32_t stack) { backward_stack.store(stack, std::memory_order_relaxed); }

uint32_t CurrentStack(ThreadState& thread) {
  RawStack stack;
  return WalkPythonStack(&stack) ? InternPythonStack(*thread.recorder, stack) : 0;
}

Attribution AttributeAllocation(ThreadState& thread, const HookFrame& hook, uint64_t bytes) {
  RawAttribution raw(*thread.recorder, __builtin_frame_address(0));
  if (raw.layout == nullptr && hook.caller != nullptr && torch_resolved.load(std::memory_order_relaxed)) {
    const uint64_t key = SiteKey(*thread.recorder, raw, bytes, kNoDevice);
    raw.context.native = recent_callers.Find(key);
    if (raw.context.native == 0) {
      raw.context.native = FindNativeCallers(*thread.recorder, hook);
      if (raw.context.native != 0) recent_callers.Insert(key, raw.context.native);
    }
  }
  return Intern(*thread.recorder, raw);
}

[[gnu::hot]] Attribution AttributeBlock(ThreadState& thread, uint64_t bytes, uint32_t device, const HookFrame& hook) {
  RawAttribution raw(*thread.recorder, __builtin_frame_address(0));
  raw.context.stream = StreamOf(device);
  const uint64_t key = SiteKey(*thread.recorder, raw, bytes, device);
  Attribution attribution;
  attribution.site = recent_sites.Find(key);
  return attribution.site != 0 ? attribution : NewSite(*thread.recorder, raw, key, bytes, device, hook);
}

}  // namespace oomtrace
