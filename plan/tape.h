// Autograd over sizes: the tensors of a training step with their lifetimes, without their values.
//
// Follows PyTorch's engine (torch/csrc/autograd/engine.cpp): an operation leaves a node that keeps what its backward
// needs; backward runs the ready node that was made last, gives up what it kept, and adds gradients that meet in place.
// A gradient that reaches a parameter first becomes its .grad, without a copy. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "plan/memory.h"

namespace oomtrace::plan {

struct Node;
struct Edge {
  std::shared_ptr<Node> node;
  size_t input = 0;  // which of the node's gradients
};

struct Tensor {
  Storage storage;
  int64_t elements = 0;
  int width = 0;  // bytes an element
  Kind kind = Kind::kActivation;
  Edge edge;  // what made it, where gradients are wanted
  // A gradient that is a transposed view, as that of a matrix product's weight: a second one is not added in place.
  bool view = false;

  explicit operator bool() const { return storage != nullptr; }
  // The same storage without its history: what a node keeps.
  Tensor Detached() const { return {storage, elements, width, kind, {}, view}; }
};

struct Parameter {
  Tensor value;
  Storage gradient;
  bool matrix = false;
  std::shared_ptr<Node> accumulate;
};

// Takes the gradients of the outputs and what the node kept, and gives those of the inputs (an empty one: none). What
// it resets is freed there and then; the rest when it returns.
using Backward = std::function<std::vector<Tensor>(std::vector<Tensor>& gradients, std::vector<Tensor>& saved)>;

struct Node {
  uint64_t sequence = 0;
  std::vector<Edge> next;
  std::vector<int> widths;  // that the gradients of `next` must have; autograd casts them
  std::vector<Tensor> saved;
  size_t outputs = 1;
  Backward backward;
};

class Tape {
 public:
  explicit Tape(Memory& memory) : memory_(memory) {}

  Tensor New(int64_t elements, int width, Kind kind = Kind::kActivation) {
    return {std::make_shared<Block>(memory_, elements * width, kind), elements, width, kind, {}};
  }
  Parameter& AddParameter(int64_t elements, int width, bool matrix);
  std::vector<std::unique_ptr<Parameter>>& parameters() { return parameters_; }

  // Makes `outputs` (at least one) the results of an operation on `inputs`. Without inputs that want gradients, or
  // while recording is off, nothing is kept.
  void Record(std::vector<Tensor*> outputs, const std::vector<const Tensor*>& inputs, std::vector<Tensor> saved,
              Backward backward);
  // From a result, whose gradient is a number of its own where none is given. May be called from a node's backward.
  void RunBackward(const Tensor& result, Tensor gradient = {});

  bool recording() const { return recording_; }
  void set_recording(bool on) { recording_ = on; }
  Memory& memory() { return memory_; }

 private:
  Memory& memory_;
  std::vector<std::unique_ptr<Parameter>> parameters_;
  uint64_t next_sequence_ = 0;
  bool recording_ = true;
};

}  // namespace oomtrace::plan
