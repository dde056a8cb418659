#include "analyzer/advise/evaluation_graphs.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "analyzer/diagnose/states.h"
#include "analyzer/diagnose/words.h"

namespace oomtrace {
namespace {

// Of a chain of layers without gradients a few tensors live at a time: a layer's input, its output, one in between.
constexpr size_t kChain = 3;
constexpr absl::string_view kGraph = "graph of ";  // what the search for holders writes of what a graph saved

// When the training before an evaluation ended: the first batch arrives before a module runs. `begin` where there was
// none.
int64_t EndOfTraining(const Timeline& t, int64_t begin) {
  const auto mark = std::lower_bound(t.phases.begin(), t.phases.end(), begin,
                                     [](const PhaseMark& at, int64_t time) { return at.time < time; });
  const bool between = mark != t.phases.begin() && std::prev(mark)->phase == PhaseKind::kBetweenSteps;
  return between ? std::prev(mark)->time : begin;
}

// When each batch began: when inputs arrive; of data made on the device, the births of the first statement outside of
// the model that runs as often as most others of that kind. What is made at once, with nothing else between, is of one
// batch.
std::vector<int64_t> Batches(const Timeline& t, int64_t begin, int64_t end) {
  std::map<uint32_t, std::vector<int64_t>> births, arrivals;
  std::vector<uint32_t> order, arrival_order;
  uint32_t before = 0;
  const int64_t since = EndOfTraining(t, begin);
  const auto add = [&](auto& of, auto& in_order, const Tensor& tensor) {
    std::vector<int64_t>& times = of[tensor.stack];
    if (times.empty()) in_order.push_back(tensor.stack);
    if (tensor.stack != before || times.empty()) times.push_back(tensor.born);
  };
  for (const Tensor& tensor : t.tensors) {
    if (tensor.born > end) break;
    if (tensor.device != t.device || tensor.stack == 0) continue;
    const bool arrives = tensor.born >= since && tensor.category == Category::kInput;
    if (tensor.born < begin && !arrives) continue;
    if (tensor.category == Category::kInput) add(arrivals, arrival_order, tensor);
    if (t.stacks[tensor.stack].module == 0) add(births, order, tensor);
    before = tensor.stack;
  }
  if (!arrival_order.empty()) return arrivals[arrival_order.front()];
  std::vector<size_t> counts;
  for (const auto& [stack, times] : births) counts.push_back(times.size());
  if (counts.empty()) return {};
  std::sort(counts.begin(), counts.end());
  const size_t usual = counts[counts.size() / 2];
  for (const uint32_t stack : order) {
    if (births[stack].size() >= 2 && births[stack].size() + 1 >= usual) return births[stack];
  }
  return {};
}

// The containers, by what the search for holders wrote, that keep tensors of two batches or more: a variable that is
// assigned anew for each batch keeps those of the last one. One that keeps the graphs of two batches keeps what they
// hang from, though the search had time for one of those only. What PyTorch itself holds during a call is none.
std::set<std::string> ContainersOf(const std::vector<std::pair<int64_t, std::string>>& batches_and_holders) {
  std::map<std::string, std::set<int64_t>> batches;
  for (const auto& [batch, holder] : batches_and_holders) batches[Container(holder)].insert(batch);
  std::set<std::string> containers;
  for (const auto& [name, of] : batches) {
    const auto graphs = batches.find(absl::StrCat(kGraph, name));
    const bool two = of.size() >= 2 || (graphs != batches.end() && graphs->second.size() >= 2);
    if (two && !absl::StrContains(name, "Module._")) containers.insert(name);
  }
  return containers;
}

// Identities of the modules that have none inside.
std::set<uint64_t> Layers(const Timeline& t) {
  std::set<std::pair<uint64_t, std::string>> parents;
  for (const Module& module : t.modules) {
    const size_t dot = module.path.rfind('.');
    if (!module.path.empty()) parents.emplace(module.root, dot == std::string::npos ? "" : module.path.substr(0, dot));
  }
  std::set<uint64_t> layers;
  for (const Module& module : t.modules) {
    if (!parents.contains({module.root, module.path})) layers.insert(module.identity);
  }
  return layers;
}

}  // namespace

EvaluationGraphs FindEvaluationGraphs(const Facts& facts) {
  EvaluationGraphs found;
  found.largest = facts.refused;
  if (!facts.oom || facts.oom->phase != PhaseKind::kEvaluation) return found;
  const Timeline& t = *facts.timeline;
  const int64_t begin = BeginOfEvaluation(*facts.timeline, facts.moment);
  const std::vector<int64_t> begins = Batches(t, begin, facts.moment);
  found.batches = begins.empty() ? 0 : static_cast<int64_t>(begins.size()) - 1;
  const auto batch_of = [&](int64_t time) {
    return std::upper_bound(begins.begin(), begins.end(), time) - begins.begin();  // from 1; 0: before the first one
  };
  const auto begin_of = [&](int64_t batch) {
    return batch <= static_cast<int64_t>(begins.size()) ? begins[static_cast<size_t>(batch - 1)] : facts.moment + 1;
  };
  // What a batch leaves: where nothing has a name, its last tensor may be a result that the program keeps.
  std::map<int64_t, uint32_t> last_of;
  const std::set<uint64_t> layers = Layers(t);
  std::vector<std::pair<int64_t, std::string>> holders;
  for (const uint32_t i : facts.live) {
    const Tensor& tensor = t.tensors[i];
    if (tensor.born < begin || tensor.phase != PhaseKind::kEvaluation || !tensor.grad_mode) continue;
    const int64_t batch = batch_of(tensor.born);
    if (batch > found.batches) continue;
    if (!tensor.holder.empty()) holders.emplace_back(batch, tensor.holder.str());
    const auto [known, first] = last_of.try_emplace(batch, i);
    // What the last layer makes is the result, whatever is larger before it; the loss made of that is no larger.
    const bool of_layer = layers.contains(t.stacks[tensor.stack].module);
    if (!first && (of_layer || 4 * tensor.bytes >= t.tensors[known->second].bytes)) known->second = i;
  }
  const std::set<std::string> containers = ContainersOf(holders);
  const auto keeper = [&](const Tensor& tensor) {
    const std::string name = tensor.holder.empty() ? "" : Container(tensor.holder.str());
    return containers.contains(name) ? name : std::string();
  };
  const auto is_graph = [](const std::string& name) { return absl::StartsWith(name, kGraph); };
  const bool named =
      std::any_of(containers.begin(), containers.end(), [&](const auto& name) { return !is_graph(name); });
  // The search for holders does not reach them all: of what one statement makes, all is held where some is.
  std::set<std::pair<uint32_t, size_t>> held;
  const auto kind = [&](const Tensor& tensor) {
    return std::pair(tensor.stack, t.layouts[tensor.layout].shape.size());
  };
  if (named) {
    for (const uint32_t i : facts.live) {
      const std::string name = keeper(t.tensors[i]);
      if (!name.empty() && !is_graph(name)) held.insert(kind(t.tensors[i]));
    }
  }
  std::vector<uint32_t> made;
  for (uint32_t i = 0; i < t.tensors.size(); ++i) {
    const Tensor& tensor = t.tensors[i];
    if (tensor.born > facts.moment) break;
    if (tensor.born < begin || tensor.device != t.device || tensor.phase != PhaseKind::kEvaluation) continue;
    found.largest = std::max(found.largest, tensor.bytes);
    if (tensor.grad_mode && tensor.category != Category::kInput) made.push_back(i);
  }
  int64_t output_batches = 0, last_batch = -1;
  for (size_t n = 0; n < made.size(); ++n) {
    const uint32_t i = made[n];
    const Tensor& tensor = t.tensors[i];
    const int64_t batch = batch_of(tensor.born);
    const bool lives = tensor.died > facts.moment;
    const bool older = batch <= found.batches;
    const int64_t end = begin_of(batch + 1), end_of_next = begin_of(batch + 2);
    const std::string name = keeper(tensor);
    const bool output = lives && older && (named ? held.contains(kind(tensor)) : last_of[batch] == i);
    if (output) {
      found.outputs += tensor.bytes;
      output_batches += batch != last_batch ? 1 : 0;
      last_batch = batch;
      if (!name.empty() && !is_graph(name)) found.holder = name;
      if (tensor.died > end_of_next) found.without_outputs.push_back({i, tensor.born, end_of_next});
      continue;
    }
    if (lives) {
      found.kept += tensor.bytes;
      if (!older) found.in_work += tensor.bytes;
      if (found.holder.empty() && is_graph(name)) found.holder = name.substr(kGraph.size());
    }
    const size_t later = n + kChain;
    const int64_t passed = std::min(end, later < made.size() ? t.tensors[made[later]].born : facts.moment + 1);
    if (tensor.died > passed) {
      found.as_chain.push_back({i, tensor.born, passed});
      found.without_outputs.push_back(found.as_chain.back());
    }
    if (older && tensor.died > end) found.without_graphs.push_back({i, tensor.born, end});
    if (older && tensor.died > end_of_next) found.let_go.push_back({i, tensor.born, end_of_next});
  }
  found.keeps_outputs = named && output_batches > 0;
  if (output_batches > 0) found.output_per_batch = found.outputs / output_batches;
  found.gathers = found.batches >= 2 && found.kept - found.in_work > found.in_work;
  // A result that is kept with gradients keeps its graph: where none stays, none is kept. Of one batch it is not told.
  if (found.batches >= 2 && !found.gathers && !named) found.outputs = found.output_per_batch = 0;
  return found;
}

}  // namespace oomtrace
