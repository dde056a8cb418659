#include "simgpu/machine.h"

#include <pthread.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "simgpu/activity.h"
#include "simgpu/torch_blocks.h"

namespace oomtrace::simgpu {
namespace {

// Set in a child that was forked after a context existed: CUDA does not survive fork().
std::atomic<bool> context_existed{false};
std::atomic<bool> lost_by_fork{false};

thread_local int chosen = -1;
thread_local uint64_t chosen_context = 0;

void AfterForkInChild() {
  if (context_existed.load(std::memory_order_relaxed)) lost_by_fork.store(true, std::memory_order_relaxed);
}

}  // namespace

Machine& Machine::Get() {
  static Machine* machine = new Machine;
  return *machine;
}

Machine::Machine() : settings_(ReadSettings([](const char* name) -> const char* { return std::getenv(name); })) {
  if (!settings_.error.empty()) std::fprintf(stderr, "oomtrace simgpu: %s\n", settings_.error.c_str());
  const int count = settings_.gpu ? settings_.devices : 0;
  for (int i = 0; i < count; ++i) devices_.push_back(std::make_unique<DeviceMemory>(i, settings_.memory));
  pthread_atfork(nullptr, nullptr, AfterForkInChild);
}

Refusal Machine::CheckUsable() const {
  if (device_count() == 0) return Refusal::kNoDevice;
  if (lost_by_fork.load(std::memory_order_relaxed)) return Refusal::kNotInitialized;
  return Refusal::kNone;
}

Refusal Machine::RequireContext(int index) {
  if (const Refusal refusal = CheckUsable(); refusal != Refusal::kNone) return refusal;
  if (!valid(index)) return Refusal::kInvalidDevice;
  DeviceMemory& memory = device(index);
  if (memory.has_context() || (chosen_context != 0 && chosen == index)) return Refusal::kNone;
  // Not under any lock of PyTorch's yet: the first CUDA call comes before the first block.
  FindTorchAllocatorReport();
  if (!memory.BookContext()) return Refusal::kOutOfMemory;
  NoteContext(index);
  Log("device %d: context of %lld bytes", index, static_cast<long long>(settings_.memory.context));
  return Refusal::kNone;
}

void Machine::NoteContext(int index) {
  context_existed.store(true, std::memory_order_relaxed);
  CreateContext(index);
}

int Machine::VisibleIndex(int number) const {
  const auto it = std::find(settings_.visible.begin(), settings_.visible.end(), number);
  return it == settings_.visible.end() ? -1 : static_cast<int>(it - settings_.visible.begin());
}

int Machine::chosen_device() { return chosen; }
uint64_t Machine::own_context() { return chosen_context; }
void Machine::choose_device(int index, uint64_t own_context) {
  chosen = index;
  chosen_context = own_context;
}

void Machine::Uuid(int number, unsigned char (&bytes)[16]) {
  std::memset(bytes, 0, sizeof bytes);
  std::memcpy(bytes, "oomtrace-sim", 12);
  bytes[15] = static_cast<unsigned char>(number + 1);
}

void Log(const char* format, ...) {
  if (!Machine::Get().settings().log) return;
  char line[512];
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  std::fprintf(stderr, "oomtrace simgpu: %s\n", line);
}

}  // namespace oomtrace::simgpu
