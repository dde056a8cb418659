// Ranges that a program names itself, through NVTX: no CUPTI, no driver. Every library that marks ranges carries NVTX's
// header code in itself and calls the function below once, where NVTX_INJECTION64_PATH names this library, with a table
// of its own that we fill in. The program's ranges then come here.
//
// Structures and numbers: nvToolsExt.h and nvtxDetail/nvtxTypes.h of NVTX 3, stable since 2017.
#include "interpose/hooks/nvtx.h"

#include <cstdint>
#include <cstring>
#include <cwchar>

#include "interpose/hooks/real.h"
#include "interpose/record/gpu_events.h"
#include "interpose/record/memory.h"

using namespace oomtrace;

namespace {

constexpr uint32_t kCallbacksTable = 1;  // NVTX_ETID_CALLBACKS
constexpr int kCore = 1;                 // NVTX_CB_MODULE_CORE
constexpr int kCore2 = 5;                // NVTX_CB_MODULE_CORE2: the same in domains

using Slot = void (**)();
struct Callbacks {  // NvtxExportTableCallbacks
  size_t bytes;
  int (*module_table)(int module, Slot** table, unsigned int* size);
};
using GetExportTable = const void*(uint32_t table);

enum CoreSlot {
  kRangeStartEx = 4,
  kRangeStartA = 5,
  kRangeStartW = 6,
  kRangeEnd = 7,
  kRangePushEx = 8,
  kRangePushA = 9,
  kRangePushW = 10,
  kRangePop = 11,
};
enum Core2Slot {
  kDomainRangeStartEx = 2,
  kDomainRangeEnd = 3,
  kDomainRangePushEx = 4,
  kDomainRangePop = 5,
  kDomainRegisterStringA = 10,
};

struct Attributes {  // nvtxEventAttributes_t
  uint16_t version;
  uint16_t bytes;
  uint32_t category;
  int32_t color_type;
  uint32_t color;
  int32_t payload_type;
  int32_t reserved;
  uint64_t payload;
  int32_t message_type;
  const void* message;
};
enum MessageType { kAscii = 1, kWide = 2, kRegistered = 3 };

enum Kind : uint32_t { kPush = 1, kPop = 2, kStart = 3, kEnd = 4 };  // NvtxRange.Kind

constexpr size_t kLongestName = 256;
std::atomic<uint64_t> next_range{1};
constinit thread_local int depth __attribute__((tls_model("initial-exec"))) = 0;

// What is open while nothing is recorded yet: this thread's outermost pushed ranges, and the process's started ones.
constexpr int kMostEarly = 8;
struct EarlyRange {
  uint64_t range;  // of a started one, 0: free
  char name[48];

  void Keep(uint64_t number, const char* text) {
    range = number;
    strncpy(name, text, sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
  }
};
struct EarlyPushes {
  int count;
  EarlyRange open[kMostEarly];
};
// In memory of its own while a range is open: thread-local storage is scarce.
constinit thread_local EarlyPushes* pushes __attribute__((tls_model("initial-exec"))) = nullptr;
constinit EarlyRange starts[kMostEarly] = {};
SpinLock starts_lock;

void ForgetPushes() {
  munmap(pushes, sizeof(EarlyPushes));
  pushes = nullptr;
}

void KeepPush(const char* name) {
  if (name == nullptr || depth != (pushes != nullptr ? pushes->count : 0)) return;
  if (pushes == nullptr) pushes = static_cast<EarlyPushes*>(MapMemory(sizeof(EarlyPushes)));
  if (pushes != nullptr && pushes->count < kMostEarly) pushes->open[pushes->count++].Keep(0, name);
}

void KeepEarly(Kind kind, const char* name, uint64_t range) {
  if (kind == kPush) KeepPush(name);
  if (kind == kPop && pushes != nullptr && pushes->count == depth && --pushes->count == 0) ForgetPushes();
  if ((kind != kStart || name == nullptr) && kind != kEnd) return;
  const uint64_t wanted = kind == kEnd ? range : 0;
  SpinLockHolder hold(starts_lock);
  for (EarlyRange& start : starts) {
    if (start.range != wanted) continue;
    if (kind == kStart) {
      start.Keep(range, name);
    } else {
      start.range = 0;
    }
    return;
  }
}

void Record(Kind kind, const char* name, uint64_t range) {
  Entry entry(Cause::kFact);
  if (!entry) return KeepEarly(kind, name, range);
  const size_t size = name != nullptr ? strnlen(name, kLongestName) : 0;
  const uint32_t id = size > 0 ? entry.recorder().facts().String({name, size}) : 0;
  RecordNvtxRange(entry.thread(), kind, id, range);
}

// What is not ASCII becomes '?'.
void RecordWide(Kind kind, const wchar_t* name, uint64_t range) {
  char narrow[kLongestName];
  size_t size = 0;
  for (; name != nullptr && name[size] != 0 && size + 1 < sizeof(narrow); ++size)
    narrow[size] = name[size] < 0x80 ? static_cast<char>(name[size]) : '?';
  narrow[size] = 0;
  Record(kind, narrow, range);
}

void RecordNamed(Kind kind, const Attributes* attributes, uint64_t range) {
  const int32_t type = attributes != nullptr ? attributes->message_type : 0;
  if (type == kWide) {
    RecordWide(kind, static_cast<const wchar_t*>(attributes->message), range);
  } else {
    Record(kind, type == kAscii || type == kRegistered ? static_cast<const char*>(attributes->message) : nullptr,
           range);
  }
}

// The handle of a registered string is its copy; nullptr when there are too many.
const void* RegisterString(void*, const char* text) {
  static char copies[64 << 10];
  static std::atomic<size_t> used{0};
  const size_t size = strnlen(text, kLongestName) + 1;
  const size_t at = used.fetch_add(size, std::memory_order_relaxed);
  if (at + size > sizeof(copies)) return nullptr;
  memcpy(copies + at, text, size - 1);
  return copies + at;
}

uint64_t NewRange() { return next_range.fetch_add(1, std::memory_order_relaxed); }

int PushA(const char* name) {
  Record(kPush, name, 0);
  return depth++;
}
int PushW(const wchar_t* name) {
  RecordWide(kPush, name, 0);
  return depth++;
}
int PushEx(const Attributes* attributes) {
  RecordNamed(kPush, attributes, 0);
  return depth++;
}
// NVTX answers with the range's depth, a negative number where there was none.
int Pop() {
  if (depth == 0) return -1;
  Record(kPop, nullptr, 0);
  return --depth;
}
uint64_t StartA(const char* name) {
  const uint64_t range = NewRange();
  Record(kStart, name, range);
  return range;
}
uint64_t StartW(const wchar_t* name) {
  const uint64_t range = NewRange();
  RecordWide(kStart, name, range);
  return range;
}
uint64_t StartEx(const Attributes* attributes) {
  const uint64_t range = NewRange();
  RecordNamed(kStart, attributes, range);
  return range;
}
void End(uint64_t range) { Record(kEnd, nullptr, range); }

uint64_t DomainStartEx(void*, const Attributes* attributes) { return StartEx(attributes); }
void DomainEnd(void*, uint64_t range) { End(range); }
int DomainPushEx(void*, const Attributes* attributes) { return PushEx(attributes); }
int DomainPop(void*) { return Pop(); }

template <typename Function>
void Put(Slot* table, unsigned int size, int slot, Function* function) {
  if (static_cast<unsigned int>(slot) < size && table[slot] != nullptr)
    *table[slot] = reinterpret_cast<void (*)()>(function);
}

}  // namespace

void oomtrace::WriteOpenRanges() {
  if (EarlyPushes* early = pushes; early != nullptr) {
    pushes = nullptr;
    for (int i = 0; i < early->count; ++i) Record(kPush, early->open[i].name, 0);
    munmap(early, sizeof(EarlyPushes));
  }
  EarlyRange open[kMostEarly];
  {
    SpinLockHolder hold(starts_lock);
    memcpy(open, starts, sizeof(open));
    memset(starts, 0, sizeof(starts));
  }
  for (const EarlyRange& start : open)
    if (start.range != 0) Record(kStart, start.name, start.range);
}

OOMTRACE_EXPORT int InitializeInjectionNvtx2(GetExportTable* get) {
  const auto* callbacks = static_cast<const Callbacks*>(get(kCallbacksTable));
  if (callbacks == nullptr || callbacks->bytes < sizeof(Callbacks)) return 0;
  Slot* table = nullptr;
  unsigned int size = 0;
  if (callbacks->module_table(kCore, &table, &size) == 0) return 0;
  Put(table, size, kRangePushEx, PushEx);
  Put(table, size, kRangePushA, PushA);
  Put(table, size, kRangePushW, PushW);
  Put(table, size, kRangePop, Pop);
  Put(table, size, kRangeStartEx, StartEx);
  Put(table, size, kRangeStartA, StartA);
  Put(table, size, kRangeStartW, StartW);
  Put(table, size, kRangeEnd, End);
  if (callbacks->module_table(kCore2, &table, &size) != 0) {
    Put(table, size, kDomainRangePushEx, DomainPushEx);
    Put(table, size, kDomainRangePop, DomainPop);
    Put(table, size, kDomainRangeStartEx, DomainStartEx);
    Put(table, size, kDomainRangeEnd, DomainEnd);
    Put(table, size, kDomainRegisterStringA, RegisterString);
  }
  return 1;
}
