#include "simgpu/loaded_kernels.h"

#include "simgpu/activity.h"
#include "simgpu/machine.h"

namespace oomtrace::simgpu {

LoadedKernels& LoadedKernels::Get() {
  static LoadedKernels* kernels = new LoadedKernels;
  return *kernels;
}

uintptr_t LoadedKernels::Load(const void* image) {
  const uintptr_t handle = Machine::Get().NewHandle();
  size_t bytes = 0;
  ParameterTable table = ReadParametersOfImage(image, &bytes);
  {
    std::lock_guard lock(mutex_);
    modules_.emplace(handle, std::move(table));
  }
  LoadModule(static_cast<uint32_t>(handle), static_cast<uint32_t>(bytes), Machine::current_device());
  return handle;
}

uintptr_t LoadedKernels::Function(uintptr_t module, const char* name) {
  std::lock_guard lock(mutex_);
  const auto [it, fresh] = handles_.try_emplace({module, name}, 0);
  if (!fresh) return it->second;
  it->second = Machine::Get().NewHandle();
  const auto table = modules_.find(module);
  const KernelParameters* parameters = nullptr;
  if (table != modules_.end()) {
    const auto found = table->second.find(name);
    if (found != table->second.end()) parameters = &found->second;
  }
  functions_.emplace(it->second, Loaded{name, parameters});
  return it->second;
}

uintptr_t LoadedKernels::BuiltIn(const char* name, size_t pointers) {
  std::lock_guard lock(mutex_);
  const auto [it, fresh] = built_in_.try_emplace({name, pointers}, 0);
  if (!fresh) return it->second;
  it->second = Machine::Get().NewHandle();
  auto* parameters = new KernelParameters;  // as long as the process
  for (uint32_t i = 0; i < pointers; ++i) parameters->push_back({i * 8, 8});
  functions_.emplace(it->second, Loaded{name, parameters});
  return it->second;
}

const char* LoadedKernels::NameOf(uintptr_t function) {
  std::lock_guard lock(mutex_);
  const auto found = functions_.find(function);
  return found == functions_.end() ? "" : found->second.name.c_str();
}

const KernelParameters* LoadedKernels::ParametersOf(uintptr_t function) {
  std::lock_guard lock(mutex_);
  const auto found = functions_.find(function);
  return found == functions_.end() ? nullptr : found->second.parameters;
}

}  // namespace oomtrace::simgpu
