#include "plan/tape.h"

#include <limits>
#include <queue>
#include <set>
#include <utility>

namespace oomtrace::plan {
namespace {

struct ByAge {
  bool operator()(const std::shared_ptr<Node>& a, const std::shared_ptr<Node>& b) const {
    return a->sequence < b->sequence;
  }
};
using Ready = std::priority_queue<std::shared_ptr<Node>, std::vector<std::shared_ptr<Node>>, ByAge>;

std::map<Node*, int> CountDependencies(const std::shared_ptr<Node>& root) {
  std::map<Node*, int> dependencies;
  std::set<Node*> seen = {root.get()};
  std::vector<Node*> todo = {root.get()};
  while (!todo.empty()) {
    Node* node = todo.back();
    todo.pop_back();
    for (const Edge& edge : node->next) {
      if (!edge.node) continue;
      ++dependencies[edge.node.get()];
      if (seen.insert(edge.node.get()).second) todo.push_back(edge.node.get());
    }
  }
  return dependencies;
}

}  // namespace

Parameter& Tape::AddParameter(int64_t elements, int width, bool matrix) {
  Parameter& parameter = *parameters_.emplace_back(std::make_unique<Parameter>());
  parameter.value = New(elements, width, Kind::kParameter);
  parameter.matrix = matrix;
  parameter.accumulate = std::make_shared<Node>();
  // A gradient is added to its parameter before anything else is done.
  parameter.accumulate->sequence = std::numeric_limits<uint64_t>::max();
  parameter.accumulate->backward = [&parameter](std::vector<Tensor>& gradients, std::vector<Tensor>&) {
    if (!parameter.gradient) parameter.gradient = gradients[0].storage;
    return std::vector<Tensor>();
  };
  parameter.value.edge = {parameter.accumulate, 0};
  return parameter;
}

void Tape::Record(std::vector<Tensor*> outputs, const std::vector<const Tensor*>& inputs, std::vector<Tensor> saved,
                  Backward backward) {
  bool wanted = false;
  for (const Tensor* input : inputs) wanted = wanted || input->edge.node;
  if (!recording_ || !wanted) return;
  const auto node = std::make_shared<Node>();
  node->sequence = next_sequence_++;
  node->outputs = outputs.size();
  node->backward = std::move(backward);
  for (const Tensor* input : inputs) {
    node->next.push_back(input->edge);
    node->widths.push_back(input->width);
  }
  for (Tensor& tensor : saved) node->saved.push_back(tensor.Detached());
  for (size_t i = 0; i < outputs.size(); ++i) outputs[i]->edge = {node, i};
}

void Tape::RunBackward(const Tensor& result, Tensor gradient) {
  std::map<Node*, int> dependencies = CountDependencies(result.edge.node);
  std::map<Node*, std::vector<Tensor>> arrived;
  if (!gradient) gradient = New(1, result.width, Kind::kTemporary);
  std::vector<Tensor>& at_root = arrived[result.edge.node.get()];
  at_root.resize(result.edge.input + 1);
  at_root.back() = std::move(gradient);
  Ready ready;
  ready.push(result.edge.node);
  while (!ready.empty()) {
    const std::shared_ptr<Node> node = ready.top();
    ready.pop();
    std::vector<Tensor> gradients = std::move(arrived[node.get()]);
    arrived.erase(node.get());
    gradients.resize(node->outputs);
    std::vector<Tensor> results = node->backward(gradients, node->saved);
    for (size_t i = 0; i < results.size(); ++i) {
      if (results[i] && i < node->widths.size() && results[i].width != node->widths[i])
        results[i] = New(results[i].elements, node->widths[i], results[i].kind);
    }
    gradients.clear();
    node->saved.clear();
    for (size_t i = 0; i < node->next.size(); ++i) {
      const Edge& edge = node->next[i];
      if (!edge.node) continue;
      std::vector<Tensor>& at = arrived[edge.node.get()];
      at.resize(std::max(at.size(), edge.input + 1));
      // Where two meet, the second is added to the first, in place where that can be.
      Tensor* result = i < results.size() && results[i] ? &results[i] : nullptr;
      if (result && !at[edge.input]) {
        at[edge.input] = std::move(*result);
      } else if (result && at[edge.input].view) {
        at[edge.input] = New(result->elements, result->width, result->kind);
      }
      if (i < results.size()) results[i] = {};
      if (--dependencies[edge.node.get()] == 0) ready.push(edge.node);
    }
  }
}

}  // namespace oomtrace::plan
