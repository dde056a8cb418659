#include "interpose/hooks/list_kernels.h"

#include <algorithm>
#include <cstring>

namespace oomtrace {
namespace {

constexpr size_t kBlocks = 320;                      // depth_to_max_blocks
constexpr size_t kTail = kBlocks + kBlocks * 4;      // block_to_tensor, block_to_chunk
constexpr size_t kTailWithStart = kTail + 8;         // and start_tensor_this_launch, padded
constexpr uint8_t kWidth[] = {110, 64, 48, 36, 30};  // depth_to_max_tensors
constexpr uint8_t kScalarWidth[] = {96, 64, 48, 36, 30};
constexpr size_t kCatArrays = 128;  // CAT_ARRAY_BATCH_SIZE
constexpr size_t kPointer = 8;

// The number, of 1 to 5, after `type` in a mangled name: its last template argument. 0: there is none.
size_t ListsOf(const char* kernel, const char* type) {
  const char* found = strstr(kernel, type);
  const char* number = found != nullptr ? strstr(found + strlen(type), "Li") : nullptr;
  if (number == nullptr) return 0;
  number += strlen("Li");
  return number[0] >= '1' && number[0] <= '5' && number[1] == 'E' ? static_cast<size_t>(number[0] - '0') : 0;
}

PointerLists Make(size_t lists, size_t width, size_t users, size_t more) {
  return {static_cast<uint8_t>(lists), static_cast<uint8_t>(width), static_cast<uint16_t>(users),
          static_cast<uint16_t>(more)};
}

}  // namespace

PointerLists ListsIn(const char* kernel, size_t bytes) {
  if (kernel == nullptr || bytes < kCatArrays * kPointer) return {};
  if (strstr(kernel, "CatArrayBatchedCopy") != nullptr) return Make(1, kCatArrays, 0, 0);
  if (strstr(kernel, "multi_tensor_apply_kernel") == nullptr) return {};
  if (const size_t lists = ListsOf(kernel, "FusedOptimizerTensorListMetadata")) {
    const size_t width = kWidth[lists - 1];
    const size_t steps = (lists + 1) * width * kPointer;
    const size_t users = steps + kScalarWidth[lists - 1] * kPointer;
    return bytes == users + kTailWithStart ? Make(lists, width, users, steps) : PointerLists();
  }
  if (const size_t lists = ListsOf(kernel, "TensorListScalarListMetadata")) {
    const size_t width = kScalarWidth[lists - 1];
    const size_t users = bytes - kTail;
    const size_t scalars = users - (lists + 1) * width * kPointer;
    return scalars == width * 4 || scalars == width * 8 ? Make(lists, width, users, 0) : PointerLists();
  }
  if (const size_t lists = ListsOf(kernel, "TensorListMetadata")) {
    const size_t width = kWidth[lists - 1];
    const size_t users = (lists + 1) * width * kPointer;
    return bytes == users + kTailWithStart ? Make(lists, width, users, 0) : PointerLists();
  }
  return {};
}

size_t UsedPointers(const PointerLists& lists, const void* parameter, uint32_t grid_x, uint32_t grid_y) {
  if (lists.users == 0) return std::min<size_t>(grid_y, lists.width);
  const auto* tensor_of_block = static_cast<const uint8_t*>(parameter) + lists.users;
  const uint8_t* last = std::max_element(tensor_of_block, tensor_of_block + std::min<size_t>(grid_x, kBlocks));
  return grid_x == 0 ? 0 : std::min<size_t>(size_t{*last} + 1, lists.width);
}

}  // namespace oomtrace
