#include "interpose/hooks/cuda_query.h"

#include <atomic>
#include <cstddef>

#include "interpose/hooks/real.h"

namespace oomtrace {
namespace {

using GetDevice = int(int*);
using GetMemory = int(size_t*, size_t*);
using ExchangeCaptureMode = int(int*);
constexpr int kRelaxed = 2;  // cudaStreamCaptureModeRelaxed: the question is allowed while a graph is captured

template <typename Function>
Function* Once(std::atomic<void*>& slot, const char* symbol) {
  void* found = slot.load(std::memory_order_acquire);
  if (found == nullptr) {
    found = FindIn(HookLibrary::kCudart, symbol);
    slot.store(found, std::memory_order_release);
  }
  return reinterpret_cast<Function*>(found);
}

std::atomic<void*> get_device{nullptr};
std::atomic<void*> exchange_capture_mode{nullptr};

}  // namespace

bool QueryMemory(uint64_t* free, uint64_t* total) {
  *free = *total = 0;
  auto* memory = Real<GetMemory>(HookId::kMemGetInfo, nullptr);
  if (memory == nullptr) return false;
  auto* exchange = Once<ExchangeCaptureMode>(exchange_capture_mode, "cudaThreadExchangeStreamCaptureMode");
  int mode = kRelaxed;
  const bool exchanged = exchange != nullptr && exchange(&mode) == 0;
  size_t free_bytes = 0, total_bytes = 0;
  const bool known = memory(&free_bytes, &total_bytes) == 0;
  if (exchanged) exchange(&mode);
  if (!known) return false;
  *free = free_bytes;
  *total = total_bytes;
  return true;
}

uint32_t CurrentDevice() {
  int device = 0;
  auto* ask = Once<GetDevice>(get_device, "cudaGetDevice");
  return ask != nullptr && ask(&device) == 0 && device > 0 ? static_cast<uint32_t>(device) : 0;
}

}  // namespace oomtrace
