// Who read and who wrote: what the launches of a window did with each tensor, as far as it can be known.
//
// A launch tells the addresses among its parameters, not what it does with them. What is known all the same:
// - a fill writes, a copy writes the one and reads the other;
// - PyTorch's elementwise kernels (TensorIterator) have their output first among their pointers, and the other ones are
//   inputs; where the output is also an input, it is read;
// - the first work that has the address of a fresh tensor writes it: there is nothing in it to be read.
// Everything else may have read. It may also have changed what it has the address of, unless it had a fresh tensor to
// write to (or is one of PyTorch's elementwise kernels with another output); normalization also changes statistics.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

struct LaunchAddress {
  int64_t tensor = -1;  // index into Timeline::tensors, -1: of no tensor
  bool start = false;   // it is the tensor's first byte
};

// What an 8-byte word of a launch's parameters, which lies within the tensor whose block begins at `begin`, points to:
// to no tensor where it is a number beside the remains of an address.
LaunchAddress PointsTo(uint64_t word, int64_t tensor, uint64_t begin);

enum class WorkKind : uint8_t { kUnseen, kKernel, kCopy, kFill };  // kUnseen: the launch was seen, its work was not

struct LaunchedWork {
  int64_t time = 0;
  uint32_t stack = 0;
  const std::vector<LaunchAddress>* addresses = nullptr;  // in the order of the parameters
  uint32_t written = 0;                                   // as in trace::Launch
  bool again = false;
  WorkKind kind = WorkKind::kUnseen;
  std::string name = {};  // of a kernel, mangled
  int64_t bytes = 0;      // of a copy
};

class Accesses {
 public:
  // `tensors` must outlive this.
  explicit Accesses(const std::vector<Tensor>& tensors) : tensors_(tensors) {}

  // In order of time. `window`: when the window that it is in began.
  void Add(const LaunchedWork& work, int64_t window);

  std::map<int64_t, TensorAccess> Take() { return std::move(by_tensor_); }

 private:
  struct Role {
    int64_t tensor;
    bool writes;
    bool reads;
  };

  std::vector<Role> RolesOf(const LaunchedWork& work, int64_t window) const;
  bool Fresh(int64_t tensor, int64_t window) const;

  const std::vector<Tensor>& tensors_;
  std::map<int64_t, TensorAccess> by_tensor_;
};

// Whether a kernel follows pointers that lie in device memory, so that its parameters do not tell what it uses.
bool FollowsPointers(const std::string& kernel);

}  // namespace oomtrace
