#include "interpose/hooks/launches.h"

#include <cuda.h>
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "interpose/hooks/attribution.h"
#include "interpose/hooks/cuda_query.h"
#include "interpose/hooks/iterator_kernels.h"
#include "interpose/hooks/list_kernels.h"
#include "interpose/hooks/real.h"
#include "interpose/record/events.h"
#include "interpose/record/gpu_events.h"
#include "interpose/record/hash.h"
#include "interpose/record/memory.h"

namespace oomtrace {
namespace {

using ParameterInfo = CUresult(const void* function, size_t index, size_t* offset, size_t* bytes);
using NameOfFunction = CUresult(const char** name, const void* function);
using FunctionOfSymbol = int(CUfunction* function, const void* symbol);

constexpr uint32_t kMostParameters = 58;
constexpr size_t kSmallestLists = 1024;  // bytes: of no other kernel of PyTorch
constexpr uint32_t kFunctions = 8192;    // kernels that a job launches: PyTorch's own are some thousand

// The parameters of one function.
struct Signature {
  std::atomic<const void*> function;
  std::atomic<bool> ready;
  bool known;
  uint8_t count;
  PointerLists lists;  // of the parameter that is largest
  AddressPlaces places;
  uint16_t bytes[kMostParameters];  // in which addresses may be
};
static_assert(sizeof(Signature) <= 144);

std::atomic<Signature*> signatures{nullptr};
std::atomic<uint64_t> next_launch{1};
constinit thread_local int launch_depth __attribute__((tls_model("initial-exec"))) = 0;

void* FindInDriver(const char* symbol) {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  return driver != nullptr ? dlsym(driver, symbol) : nullptr;
}

// The table's slot for the function: one that is not ready is the caller's to fill. nullptr: full, or being filled.
Signature* Slot(const void* function) {
  Signature* table = signatures.load(std::memory_order_acquire);
  if (table == nullptr) {
    auto* made = static_cast<Signature*>(MapMemory(kFunctions * sizeof(Signature)));
    if (made == nullptr) return nullptr;
    if (signatures.compare_exchange_strong(table, made)) {
      table = made;
    } else {
      munmap(made, kFunctions * sizeof(Signature));
    }
  }
  const uint64_t start = reinterpret_cast<uint64_t>(function) * 0x9e3779b97f4a7c15u >> 40;
  for (uint32_t i = 0; i < kFunctions / 4; ++i) {
    Signature& slot = table[(start + i) % kFunctions];
    const void* found = nullptr;
    if (slot.function.compare_exchange_strong(found, function)) return &slot;
    if (found == function) return slot.ready.load(std::memory_order_acquire) ? &slot : nullptr;
  }
  return nullptr;
}

// Lists stand in one parameter, which is larger than all others.
void AskForPlaces(FunctionKind kind, const void* handle, Signature* slot) {
  const uint16_t largest = slot->count > 0 ? *std::max_element(slot->bytes, slot->bytes + slot->count) : 0;
  auto* ask = reinterpret_cast<NameOfFunction*>(
      FindInDriver(kind == FunctionKind::kKernel ? "cuKernelGetName" : "cuFuncGetName"));
  const char* name = nullptr;
  if (ask == nullptr || ask(&name, handle) != CUDA_SUCCESS) return;
  if (largest >= kSmallestLists) slot->lists = ListsIn(name, largest);
  slot->places = FindAddressPlaces(name, slot->bytes, slot->count);
}

void Ask(FunctionKind kind, const void* function, Signature* slot) {
  static std::atomic<void*> of_function{nullptr}, of_kernel{nullptr};
  if (of_function.load(std::memory_order_relaxed) == nullptr) {
    of_function.store(FindInDriver("cuFuncGetParamInfo"), std::memory_order_relaxed);
    of_kernel.store(FindInDriver("cuKernelGetParamInfo"), std::memory_order_relaxed);
  }
  auto* info = reinterpret_cast<ParameterInfo*>((kind == FunctionKind::kKernel ? of_kernel : of_function).load());
  const void* handle = function;
  if (kind == FunctionKind::kSymbol) {
    auto* find = reinterpret_cast<FunctionOfSymbol*>(FindIn(HookLibrary::kCudart, "cudaGetFuncBySymbol"));
    CUfunction found = nullptr;
    if (find == nullptr || find(&found, function) != 0) return;
    handle = found;
  }
  if (info == nullptr) return;
  for (uint32_t index = 0; index < kMostParameters; ++index) {
    size_t offset = 0;
    size_t bytes = 0;
    const CUresult result = info(handle, index, &offset, &bytes);
    if (result == CUDA_ERROR_INVALID_VALUE) {  // past the last one
      slot->count = static_cast<uint8_t>(index);
      slot->known = true;
      AskForPlaces(kind, handle, slot);
      return;
    }
    if (result != CUDA_SUCCESS || bytes > UINT16_MAX) return;
    slot->bytes[index] = static_cast<uint16_t>(bytes);
  }
}

// nullptr: not known.
const Signature* SignatureOf(FunctionKind kind, const void* function) {
  Signature* slot = Slot(function);
  if (slot == nullptr) return nullptr;
  if (!slot->ready.load(std::memory_order_acquire)) {
    Ask(kind, function, slot);
    slot->ready.store(true, std::memory_order_release);
  }
  return slot->known ? slot : nullptr;
}

// Up to so many addresses none is kept twice; kernels with more (of foreach operators) have few that are.
constexpr size_t kCompared = 64;

class Addresses {
 public:
  void Add(uint64_t address) {
    if (!device_range.Contains(address)) return;
    const uint64_t* compared = found_ + std::min(count_, kCompared);
    if (const uint64_t* known = std::find(static_cast<const uint64_t*>(found_), compared, address); known != compared) {
      again_ = again_ || known == found_;
    } else if (count_ < LaunchEvent::kMostAddresses) {
      found_[count_++] = address;
    } else {
      cut_ = true;
    }
  }
  // What was added so far is only written.
  void AllWritten() { written_ = static_cast<uint32_t>(count_); }
  // Every word of a parameter: structures hold pointers at multiples of their size.
  void Scan(const void* parameter, size_t bytes) {
    const auto* at = static_cast<const char*>(parameter);
    for (size_t offset = 0; offset + sizeof(uint64_t) <= bytes; offset += sizeof(uint64_t)) {
      uint64_t word;
      memcpy(&word, at + offset, sizeof(word));
      Add(word);
    }
  }
  void ScanLists(const void* parameter, const PointerLists& lists, LaunchScope::Grid grid) {
    const size_t used = UsedPointers(lists, parameter, grid.x, grid.y);
    const auto* at = static_cast<const char*>(parameter);
    for (size_t list = 0; list < lists.lists; ++list)
      Scan(at + list * lists.width * sizeof(uint64_t), used * sizeof(uint64_t));
    if (lists.more != 0) Scan(at + lists.more, used * sizeof(uint64_t));
  }
  // Of a structure that is not what it was taken for, every word.
  void ScanPlaces(const void* parameter, const AddressPlaces& places, size_t bytes) {
    uint64_t word;
    memcpy(&word, static_cast<const char*>(parameter) + places.begin, sizeof(word));
    const bool known = device_range.Contains(word);
    Scan(static_cast<const char*>(parameter) + (known ? places.begin : 0), known ? places.end - places.begin : bytes);
  }
  void ScanParameter(const Signature& signature, uint32_t index, const void* parameter, LaunchScope::Grid grid) {
    const uint16_t bytes = signature.bytes[index];
    if (signature.places.end > 0 && index == signature.places.structure) {
      ScanPlaces(parameter, signature.places, bytes);
    } else if (signature.lists.lists > 0 && bytes >= kSmallestLists) {
      ScanLists(parameter, signature.lists, grid);
    } else {
      Scan(parameter, bytes);
    }
  }
  void Finish(LaunchEvent* event) {
    event->addresses = found_;
    event->count = count_;
    event->cut = cut_;
    event->again = again_;
    event->written = written_;
  }

 private:
  uint64_t found_[LaunchEvent::kMostAddresses];
  size_t count_ = 0;
  uint32_t written_ = 0;
  bool cut_ = false;
  bool again_ = false;
};

// CU_LAUNCH_PARAM_*: the parameters in one buffer.
bool ScanExtra(void** extra, Addresses* addresses) {
  const void* buffer = nullptr;
  size_t bytes = 0;
  for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
    if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER) buffer = extra[1];
    if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE) bytes = *static_cast<const size_t*>(extra[1]);
  }
  if (buffer == nullptr) return false;
  addresses->Scan(buffer, bytes);
  return true;
}

// The launch's event, and its number; 0 where nothing records.
uint64_t Write(Addresses* addresses, bool unknown) {
  Entry entry(Cause::kFact);
  if (!entry) return 0;
  LaunchEvent event;
  event.ticks = Ticks();
  event.id = next_launch.fetch_add(1, std::memory_order_relaxed);
  event.stack = CurrentStack(entry.thread());
  event.device = CurrentDevice();
  event.unknown = unknown;
  addresses->Finish(&event);
  RecordLaunch(entry.thread(), event);
  return event.id;
}

}  // namespace

// A launch inside a launch (the runtime calls the driver) is the outer one.
void LaunchScope::BeginKernel(FunctionKind kind, const void* function, Grid grid, void** arguments, void** extra) {
  open_ = true;
  if (launch_depth++ > 0) return;
  Addresses addresses;
  bool known = false;
  if (arguments != nullptr) {
    if (const Signature* signature = SignatureOf(kind, function)) {
      const uint32_t first = signature->places.first;
      if (first < signature->count) addresses.ScanParameter(*signature, first, arguments[first], grid);
      for (uint32_t i = 0; i < signature->count; ++i) {
        if (i != first) addresses.ScanParameter(*signature, i, arguments[i], grid);
      }
      known = true;
    }
  } else if (extra != nullptr) {
    known = ScanExtra(extra, &addresses);
  }
  if (const uint64_t id = Write(&addresses, !known)) pushed_ = BeginLaunch(id);
}

void LaunchScope::BeginCopy(const void* to, const void* from) {
  open_ = true;
  if (launch_depth++ > 0) return;
  Addresses addresses;
  addresses.Add(reinterpret_cast<uint64_t>(to));
  addresses.AllWritten();
  addresses.Add(reinterpret_cast<uint64_t>(from));
  if (const uint64_t id = Write(&addresses, false)) pushed_ = BeginLaunch(id);
}

void LaunchScope::End() {
  --launch_depth;
  if (pushed_) EndLaunch();
}

}  // namespace oomtrace
