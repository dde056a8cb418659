#include "simgpu/kernels.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>

namespace oomtrace::simgpu {
namespace {

constexpr uint32_t kWrapperMagic = 0x466243b1;  // fatBinaryCtl.h, FATBINC_MAGIC
constexpr uint32_t kBinaryMagic = 0xba55ed50;   // the container behind it
constexpr size_t kEntryArchitecture = 28;       // offset in an entry's header, all container versions since CUDA 4

struct Wrapper {
  uint32_t magic;
  uint32_t version;
  const void* data;
  const void* filename;
};

struct Container {
  uint32_t magic;
  uint16_t version;
  uint16_t header_bytes;
  uint64_t bytes;
};

template <typename T>
T Read(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// Each entry: u16 kind, u16 version, u32 header bytes, u64 payload bytes, ..., u32 architecture at 28.
std::vector<int> ReadArchitectures(const void* wrapper_address) {
  std::vector<int> found;
  const auto wrapper = Read<Wrapper>(static_cast<const char*>(wrapper_address));
  if (wrapper.magic != kWrapperMagic || wrapper.data == nullptr) return found;
  const char* data = static_cast<const char*>(wrapper.data);
  const auto container = Read<Container>(data);
  if (container.magic != kBinaryMagic) return found;
  const char* at = data + container.header_bytes;
  const char* end = at + container.bytes;
  while (at + kEntryArchitecture + sizeof(uint32_t) <= end) {
    const auto header = Read<uint32_t>(at + 4);
    const auto payload = Read<uint64_t>(at + 8);
    if (header < kEntryArchitecture + sizeof(uint32_t)) break;
    found.push_back(static_cast<int>(Read<uint32_t>(at + kEntryArchitecture)));
    at += header + payload;
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

Kernels& Kernels::Get() {
  static Kernels* kernels = new Kernels;
  return *kernels;
}

void** Kernels::AddFatBinary(const void* wrapper) {
  std::lock_guard lock(mutex_);
  fat_binaries_.emplace_back().wrapper = wrapper;
  return reinterpret_cast<void**>(&fat_binaries_.back());
}

bool Kernels::HasFatBinaries() {
  std::lock_guard lock(mutex_);
  return !fat_binaries_.empty();
}

void Kernels::AddFunction(void** fat_binary, const void* function, const char* name) {
  if (const ControlKernel kernel = FindControlKernel(name)) {
    std::unique_lock lock(control_mutex_);
    control_.emplace(function, kernel);
  }
  std::lock_guard lock(mutex_);
  functions_.push_back({function, reinterpret_cast<FatBinary*>(fat_binary), name});
  sorted_ = false;
}

void Kernels::AddVariable(const void* variable, size_t bytes) {
  std::lock_guard lock(mutex_);
  variables_.try_emplace(variable, bytes, nullptr);
}

const Kernels::Function* Kernels::FindLocked(const void* function) {
  const auto less = [](const Function& a, const Function& b) { return std::less<>()(a.address, b.address); };
  if (!sorted_) {
    std::sort(functions_.begin(), functions_.end(), less);
    sorted_ = true;
  }
  const auto it = std::lower_bound(functions_.begin(), functions_.end(), Function{function, nullptr, nullptr}, less);
  return it == functions_.end() || it->address != function ? nullptr : &*it;
}

const char* Kernels::NameOf(const void* function) {
  std::lock_guard lock(mutex_);
  const Function* found = FindLocked(function);
  return found == nullptr ? "" : found->name;
}

const KernelParameters* Kernels::ParametersOf(const void* function) {
  std::lock_guard lock(mutex_);
  const Function* found = FindLocked(function);
  if (found == nullptr) return nullptr;
  FatBinary& binary = *found->fat_binary;
  if (!binary.parameters_read) {
    binary.parameters_read = true;
    const auto wrapper = Read<Wrapper>(static_cast<const char*>(binary.wrapper));
    FatBinaryImages images(wrapper.magic == kWrapperMagic ? static_cast<const char*>(wrapper.data) : nullptr);
    std::vector<char> image;
    while (images.Next(&image)) binary.parameters.merge(ReadParameters(image.data(), image.size()));
  }
  const auto parameters = binary.parameters.find(found->name);
  return parameters == binary.parameters.end() ? nullptr : &parameters->second;
}

int Kernels::ArchitectureOf(const void* function, int capability) {
  std::lock_guard lock(mutex_);
  const Function* found = FindLocked(function);
  if (found == nullptr) return capability;
  FatBinary& binary = *found->fat_binary;
  if (!binary.read) {
    binary.architectures = ReadArchitectures(binary.wrapper);
    binary.read = true;
  }
  if (binary.architectures.empty()) return capability;
  const auto above = std::upper_bound(binary.architectures.begin(), binary.architectures.end(), capability);
  return above == binary.architectures.begin() ? binary.architectures.front() : *std::prev(above);
}

ControlKernel Kernels::ControlKernelOf(const void* function) {
  std::shared_lock lock(control_mutex_);
  const auto it = control_.find(function);
  return it == control_.end() ? nullptr : it->second;
}

void* Kernels::VariableAddress(const void* variable) {
  std::lock_guard lock(mutex_);
  const auto it = variables_.find(variable);
  if (it == variables_.end()) return nullptr;
  auto& [bytes, address] = it->second;
  if (address == nullptr) address = std::calloc(1, std::max<size_t>(bytes, 1));
  return address;
}

size_t Kernels::VariableBytes(const void* variable) {
  std::lock_guard lock(mutex_);
  const auto it = variables_.find(variable);
  return it == variables_.end() ? 0 : it->second.first;
}

}  // namespace oomtrace::simgpu
