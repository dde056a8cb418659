#include "analyzer/timeline/interned.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "analyzer/timeline/dtype.h"
#include "analyzer/timeline/native_names.h"

namespace oomtrace {
namespace {

// Ids in ascending order: interned as the trace met them, so the timeline's indices do not depend on hashing.
template <typename Map>
std::vector<typename Map::key_type> SortedKeys(const Map& map) {
  std::vector<typename Map::key_type> keys;
  keys.reserve(map.size());
  for (const auto& entry : map) keys.push_back(entry.first);
  std::sort(keys.begin(), keys.end());
  return keys;
}

constexpr int32_t kResizedStorage = -1;  // proto/trace.proto, Layout

int64_t LayoutBytes(const trace::Layout& layout) {
  // The refused tensor may be absurdly large; what does not fit 64 bits is held at their end.
  double bits = static_cast<double>(DtypeBits(layout.dtype()));
  int64_t exact = DtypeBits(layout.dtype());
  for (const int64_t size : layout.size()) {
    bits *= static_cast<double>(size);
    exact = static_cast<int64_t>(static_cast<uint64_t>(exact) * static_cast<uint64_t>(size));
  }
  constexpr double kMostBits = 9.0e18;
  if (bits < 0) return 0;
  return bits > kMostBits ? std::numeric_limits<int64_t>::max() / 8 : exact / 8;
}

const char* HookStateName(trace::Hook::State state) {
  switch (state) {
    case trace::Hook::HOOKED:
      return "hooked";
    case trace::Hook::MISSING:
      return "missing";
    case trace::Hook::NOT_LOADED:
      return "not_loaded";
    case trace::Hook::DISABLED:
      return "disabled";
    default:
      return "unknown";
  }
}

void AddProcess(const Tables& tables, Timeline* timeline) {
  const trace::Process& process = tables.process;
  timeline->process.pid = process.pid();
  timeline->process.arguments.assign(process.argument().begin(), process.argument().end());
  timeline->process.environment.assign(process.environment().begin(), process.environment().end());
  timeline->process.working_directory = process.working_directory();
  timeline->process.torch_version = process.torch_version();
  timeline->process.python_version = process.python_version();
  timeline->process.simulated = process.simulated();
}

std::string RouteName(const trace::UnknownRoute& route) {
  switch (route.kind()) {
    case trace::UnknownRoute::PRIVATE_TABLE:
      return absl::StrCat("functions of the driver's private table ", route.name());
    case trace::UnknownRoute::BYPASSED:
      return absl::StrCat(route.name(), ", bound past the recorder (RTLD_DEEPBIND, or a symbol scope of its own)");
    default:
      return absl::StrCat(route.name(), " in a version that no hook knows");
  }
}

void AddFacts(const Tables& tables, Timeline* timeline) {
  for (const trace::Device& device : tables.devices) {
    timeline->devices.push_back(
        {static_cast<int32_t>(device.index()), device.name(), static_cast<int64_t>(device.total())});
  }
  absl::flat_hash_set<uint64_t> said;
  for (auto identity = tables.module_order.rbegin(); identity != tables.module_order.rend(); ++identity) {
    if (!said.insert(*identity).second) continue;
    const trace::Module& module = tables.modules.at(*identity);
    timeline->modules.push_back({*identity, module.root(), tables.String(module.path()), tables.String(module.type())});
  }
  std::reverse(timeline->modules.begin(), timeline->modules.end());
  for (const trace::Optimizer& optimizer : tables.optimizers) {
    timeline->optimizers.push_back(
        {optimizer.identity(), tables.String(optimizer.type()), tables.String(optimizer.options()),
         static_cast<int64_t>(optimizer.parameter_bytes()), static_cast<int64_t>(optimizer.parameter_count())});
  }
  for (const trace::Hook& hook : tables.hooks) {
    timeline->hooks.push_back({hook.name(), hook.library(), HookStateName(hook.state()), hook.reason()});
  }
  for (const trace::UnknownRoute& route : tables.unknown_routes) {
    timeline->unknown_routes.push_back({RouteName(route), tables.LibraryPath(route.library()), route.may_allocate()});
  }
  timeline->notes = tables.notes;
  timeline->thread_names.insert(tables.thread_names.begin(), tables.thread_names.end());
}

}  // namespace

std::string NodeName(const std::string& mangled) {
  int status = 0;
  char* demangled = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
  std::string name = status == 0 && demangled != nullptr ? demangled : mangled;
  std::free(demangled);
  const size_t arguments = name.find('<');
  const size_t scope = name.rfind("::", arguments);
  return scope == std::string::npos ? name : name.substr(scope + 2);
}

Interned::Interned(const Tables& tables, Timeline* timeline) {
  timeline->strings.assign(1, "");
  timeline->stacks.assign(1, {});
  timeline->layouts.assign(1, {});
  AddStacks(tables, timeline);
  AddLayouts(tables, timeline);
  AddContexts(tables, timeline);
  AddProcess(tables, timeline);
  AddFacts(tables, timeline);
}

void Interned::AddStacks(const Tables& tables, Timeline* timeline) {
  Indices frames;
  for (const uint32_t id : SortedKeys(tables.frames)) {
    const trace::Frame& frame = tables.frames.at(id);
    frames[id] = static_cast<uint32_t>(timeline->frames.size());
    timeline->frames.push_back({tables.String(frame.file()), tables.String(frame.function()), frame.line()});
  }
  for (const uint32_t id : SortedKeys(tables.stacks)) {
    if (id == 0) continue;
    const trace::Stack& from = tables.stacks.at(id);
    oomtrace::Stack stack;
    for (const uint32_t frame : from.frame()) {
      const auto known = frames.find(frame);
      if (known != frames.end()) stack.frames.push_back(known->second);
    }
    stack.module = from.module();
    stack.root_module = from.root_module();
    stacks_[id] = static_cast<uint32_t>(timeline->stacks.size());
    timeline->stacks.push_back(std::move(stack));
  }
}

void Interned::AddLayouts(const Tables& tables, Timeline* timeline) {
  for (const uint32_t id : SortedKeys(tables.layouts)) {
    if (id == 0) continue;
    const trace::Layout& from = tables.layouts.at(id);
    oomtrace::Layout layout;
    if (from.dtype() == kResizedStorage) {
      layout.bytes = from.size_size() > 0 ? std::max<int64_t>(0, from.size(0)) : 0;
    } else {
      layout.shape.assign(from.size().begin(), from.size().end());
      layout.dtype = DtypeName(from.dtype());
      layout.bytes = LayoutBytes(from);
    }
    layouts_[id] = static_cast<uint32_t>(timeline->layouts.size());
    timeline->layouts.push_back(std::move(layout));
  }
}

void Interned::AddContexts(const Tables& tables, Timeline* timeline) {
  Indices nodes;
  const absl::flat_hash_map<uint32_t, std::string> buffers = BufferNames(tables);
  for (const uint32_t id : SortedKeys(tables.contexts)) {
    const trace::Context& from = tables.contexts.at(id);
    AllocationContext context{
        from.grad_mode(), from.inference_mode(), from.backward(), 0, Stack(from.forward_stack()), from.stream(), ""};
    if (const auto buffer = buffers.find(from.native()); buffer != buffers.end()) context.buffer = buffer->second;
    if (const std::string& node = tables.String(from.node()); !node.empty()) {
      const auto [known, fresh] = nodes.try_emplace(from.node(), static_cast<uint32_t>(timeline->strings.size()));
      if (fresh) timeline->strings.push_back(NodeName(node));
      context.node = known->second;
    }
    contexts_[id] = context;
  }
}

const AllocationContext& Interned::Context(uint32_t id) const {
  static const AllocationContext* const kNone = new AllocationContext;
  const auto found = contexts_.find(id);
  return found == contexts_.end() ? *kNone : found->second;
}

}  // namespace oomtrace
