#include "analyzer/timeline/accesses.h"

#include <algorithm>

#include "absl/strings/match.h"

namespace oomtrace {
namespace {

// aten/src/ATen/native/cuda/CUDALoops.cuh: gpu_kernel and what it launches. Kernels of other operators bear names that
// contain "elementwise_kernel" too and order their pointers otherwise.
bool IsElementwise(const std::string& kernel) {
  if (!absl::StrContains(kernel, "at6native")) return false;
  return absl::StrContains(kernel, "29vectorized_elementwise_kernel") ||
         absl::StrContains(kernel, "27unrolled_elementwise_kernelI") ||
         (absl::StrContains(kernel, "18elementwise_kernel") && absl::StrContains(kernel, "gpu_kernel_impl"));
}

bool ChangesInputs(const std::string& kernel) {
  return absl::StrContains(kernel, "batch_norm") || absl::StrContains(kernel, "batchnorm") ||
         absl::StrContains(kernel, "BatchNorm") || absl::StrContains(kernel, "bn_fw");
}

}  // namespace

LaunchAddress PointsTo(uint64_t word, int64_t tensor, uint64_t begin) {
  // Structures have gaps, in which the upper half of an address may be left; with a scale or a standard deviation of 1
  // below it, the commonest of all constants, it looks like an address in the midst of a large block.
  constexpr uint64_t kOne = 0x3f800000;
  if (word == begin) return {tensor, true};
  return {(word & UINT32_MAX) == kOne ? -1 : tensor, false};
}

// NCCL's read the pointers from work that the host has put into device memory.
bool FollowsPointers(const std::string& kernel) { return absl::StrContains(kernel, "ncclDevKernel"); }

bool Accesses::Fresh(int64_t tensor, int64_t window) const {
  return tensors_[static_cast<size_t>(tensor)].born >= window && !by_tensor_.contains(tensor);
}

// One entry a tensor, in the order of the parameters.
std::vector<Accesses::Role> Accesses::RolesOf(const LaunchedWork& work, int64_t window) const {
  std::vector<Role> roles;
  const std::vector<LaunchAddress>& addresses = *work.addresses;
  const bool copies = work.kind == WorkKind::kCopy || work.kind == WorkKind::kFill || work.written > 0;
  const bool elementwise = work.kind == WorkKind::kKernel && IsElementwise(work.name);
  const bool has_fresh = std::any_of(addresses.begin(), addresses.end(), [&](const LaunchAddress& address) {
    return address.tensor >= 0 && Fresh(address.tensor, window);
  });
  const bool inputs_stay = elementwise || copies || (has_fresh && !ChangesInputs(work.name));
  for (size_t i = 0; i < addresses.size(); ++i) {
    const int64_t tensor = addresses[i].tensor;
    if (tensor < 0) continue;
    const bool output = i < work.written || (elementwise && i == 0) || (!copies && Fresh(tensor, window));
    const bool input = copies ? i >= work.written : elementwise ? i > 0 || work.again : !output;
    const auto known =
        std::find_if(roles.begin(), roles.end(), [&](const Role& role) { return role.tensor == tensor; });
    Role& role = known != roles.end() ? *known : roles.emplace_back(Role{tensor, false, false});
    role.writes = role.writes || output || !inputs_stay;
    role.reads = role.reads || input;
  }
  return roles;
}

void Accesses::Add(const LaunchedWork& work, int64_t window) {
  const std::vector<Role> roles = RolesOf(work, window);
  for (const Role& role : roles) {
    TensorAccess& access = by_tensor_[role.tensor];
    ++access.uses;
    access.last = work.time;
    access.last_stack = work.stack;
    if (work.stack != 0) access.last_by_python = work.time;
    if (role.reads) ++access.reads;
    if (role.writes) access.changed = work.time;
    const bool filled = !role.reads && roles.size() == 1;
    if (filled || access.needed != kNever) continue;
    access.needed = work.time;
    access.needed_stack = work.stack;
  }
  if (work.kind != WorkKind::kCopy || work.written != 1 || work.addresses->size() != 2) return;
  const LaunchAddress& to = (*work.addresses)[0];
  const LaunchAddress& from = (*work.addresses)[1];
  if (!to.start || !from.start || to.tensor == from.tensor) return;
  // The blocks are the tensors rounded up to 512 B: a copy of all but such a rest is one of the tensor.
  for (const LaunchAddress& side : {to, from}) {
    if ((work.bytes + 511) / 512 * 512 != tensors_[static_cast<size_t>(side.tensor)].bytes) return;
  }
  TensorAccess& copy = by_tensor_[to.tensor];
  copy.copy_of = from.tensor;
  copy.copied = work.time;
  copy.copy_stack = work.stack;
}

}  // namespace oomtrace
