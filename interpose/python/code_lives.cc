#include "interpose/python/code_lives.h"

#include <atomic>
#include <cstddef>

namespace oomtrace {
namespace {

// Include/cpython/object.h: tp_dealloc follows the variable-size head, tp_name and two sizes, in every CPython 3.
constexpr size_t kDeallocOffset = 48;

using Dealloc = void(void*);

// 2048 counters fit the first-level cache; the filter has one wrong positive in a hundred at 600 named code objects.
constexpr size_t kLives = 2048, kFilterBits = 1 << 16;

std::atomic<Dealloc*> original{nullptr};
std::atomic<uint64_t> deaths{0};
std::atomic<bool> named_died{false};
std::atomic<uint32_t> lives[kLives];
std::atomic<uint64_t> named[kFilterBits / 64];

uint64_t Scrambled(const void* code) { return reinterpret_cast<uintptr_t>(code) * 0x9e3779b97f4a7c15u; }
size_t LifeIndex(const void* code) { return Scrambled(code) >> 53; }
size_t FilterBit(const void* code) { return Scrambled(code) >> 48; }

// With the GIL, which the counters do not rely on: interpreters may have one each.
void OnCodeDealloc(void* code) {
  deaths.fetch_add(1, std::memory_order_relaxed);
  const size_t bit = FilterBit(code);
  if (named[bit / 64].load(std::memory_order_relaxed) >> (bit % 64) & 1) {
    lives[LifeIndex(code)].fetch_add(1, std::memory_order_relaxed);
    named_died.store(true, std::memory_order_relaxed);
  }
  original.load(std::memory_order_relaxed)(code);
}

}  // namespace

bool WatchCode(void* code_type) {
  if (original.load(std::memory_order_relaxed) != nullptr) return true;
  if (code_type == nullptr) return false;
  auto* slot = reinterpret_cast<Dealloc**>(static_cast<uint8_t*>(code_type) + kDeallocOffset);
  if (*slot == nullptr) return false;
  original.store(*slot, std::memory_order_relaxed);
  __atomic_store_n(slot, &OnCodeDealloc, __ATOMIC_RELEASE);
  return true;
}

uint64_t CodeDeaths() { return deaths.load(std::memory_order_relaxed); }

void NoteNamed(const void* code) {
  const size_t bit = FilterBit(code);
  const uint64_t mask = uint64_t{1} << (bit % 64);
  std::atomic<uint64_t>& word = named[bit / 64];
  if ((word.load(std::memory_order_relaxed) & mask) == 0) word.fetch_or(mask, std::memory_order_relaxed);
}

bool AnyNamedCodeDied() { return named_died.load(std::memory_order_relaxed); }

uint32_t LifeOf(const void* code) { return lives[LifeIndex(code)].load(std::memory_order_relaxed); }

}  // namespace oomtrace
