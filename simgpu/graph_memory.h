// Memory nodes of CUDA graphs (cudaGraphAddMemAllocNode, cudaGraphAddMemFreeNode).
//
// A node's address is fixed when it is added and holds memory from the launch of the graph on, until a free node of
// this or another graph, or cudaFree, gives it back. Each device has one pool for all graphs of the process: a launch
// takes from it what it needs at its highest, in pages of 2 MiB, and what is freed stays there until it is trimmed. The
// order of the nodes is that in which they were added: edges are not looked at.
//
// One for the process. Thread-safe. Bytes throughout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "simgpu/memory.h"

namespace oomtrace::simgpu {

class GraphMemory {
 public:
  enum class Result { kOk, kInvalid, kOutOfMemory };
  struct Use {
    uint64_t used = 0, used_high = 0, reserved = 0, reserved_high = 0;
  };

  // `device(i)` is the memory of device i.
  explicit GraphMemory(std::function<DeviceMemory&(int)> device) : device_(std::move(device)) {}

  void AddGraph(uintptr_t graph);
  // kInvalid: not a graph. `node` is the new node's handle.
  Result AddAllocation(uintptr_t graph, uintptr_t node, size_t bytes, int device, uintptr_t* address);
  Result AddFree(uintptr_t graph, uintptr_t node, uintptr_t address);  // kInvalid too: no address of a node
  Result AddOther(uintptr_t graph, uintptr_t node);
  std::vector<uintptr_t> Nodes(uintptr_t graph) const;

  // `free_on_launch`: what a launch has left allocated is freed by the next one. Without it that one is invalid.
  Result Instantiate(uintptr_t graph, uintptr_t executable, bool free_on_launch);
  Result Launch(uintptr_t executable);
  // Of a graph or an executable. What is allocated stays.
  void Forget(uintptr_t handle);

  // cudaFree. False: no memory of a graph that is allocated.
  bool Free(uintptr_t address);
  Use UseOf(int device) const;
  void ResetHigh(int device);
  void Trim(int device);

 private:
  struct Node {
    uintptr_t handle;
    uintptr_t allocates = 0, frees = 0;  // addresses
  };
  struct Executable {
    std::vector<Node> nodes;
    bool free_on_launch;
  };
  struct Block {
    size_t bytes;
    int device;
    bool live = false;
  };

  void Release(Block& block, uintptr_t address);
  Result Reserve(const std::vector<Node>& nodes);

  const std::function<DeviceMemory&(int)> device_;
  mutable std::mutex mutex_;
  std::map<uintptr_t, std::vector<Node>> graphs_;
  std::map<uintptr_t, Executable> executables_;
  std::map<uintptr_t, Block> blocks_;  // by address
  std::map<int, Use> uses_;            // by device
};

}  // namespace oomtrace::simgpu
