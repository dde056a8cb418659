#include "analyzer/diagnose/leak_holder.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <set>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

constexpr std::string_view kGraph = "graph of ";
constexpr std::string_view kRemark = "it uses ";  // of a view, after the place
constexpr std::string_view kAlso = "also kept by ";

struct Vote {
  int64_t bytes = 0;
  int64_t tensors = 0;
  std::set<size_t> steps;  // in which they were made
};

// A name and the leaked tensors that it keeps.
using Votes = std::map<std::string, Vote>;

constexpr std::string_view kNameless = "a tensor of ";
constexpr std::string_view kTensorItself = "(a tensor of ";  // after an expression: what it names is no container

// Of what leaks, a share below 1 / this is not worth a change of its own.
constexpr int64_t kWorthAChange = 10;

std::string_view Expression(std::string_view name) { return name.substr(0, name.find(" (")); }

// What the expression starts with, up to the first subscript or attribute, in which names of one container agree.
std::string Root(std::string_view name) {
  const std::string_view expression = Expression(name);
  const size_t start = expression.starts_with(kGraph) ? kGraph.size() : 0;
  const size_t first = expression.find_first_of("[.", start);
  if (first == std::string_view::npos || expression[first] == '[') return std::string(expression.substr(0, first));
  return std::string(expression.substr(0, expression.find_first_of("[.", first + 1)));
}

// The longest beginning that all expressions share, cut where a subscript or an attribute begins.
std::string SharedBeginning(const Votes& votes) {
  std::string_view shared = Expression(votes.begin()->first);
  bool differ = false;
  for (const auto& [name, vote] : votes) {
    const std::string_view other = Expression(name);
    const auto end = std::mismatch(shared.begin(), shared.end(), other.begin(), other.end());
    if (end.first == shared.end() && end.second == other.end()) continue;
    differ = true;
    shared = shared.substr(0, static_cast<size_t>(end.first - shared.begin()));
  }
  if (!differ) return std::string(shared);
  // The difference may lie inside a subscript or in the middle of a name.
  const size_t open = shared.rfind('[');
  if (open != std::string_view::npos && shared.find(']', open) == std::string_view::npos) {
    shared = shared.substr(0, open);
  } else if (!shared.ends_with(']')) {
    const size_t cut = shared.find_last_of("[.");
    if (cut != std::string_view::npos) shared = shared.substr(0, cut);
  }
  return std::string(shared);
}

// With the parentheses, without who else keeps the tensor.
std::string Where(std::string_view name) {
  std::string where(name.substr(Expression(name).size()));
  const size_t also = where.find(kAlso);
  if (also == std::string::npos) return where;
  const size_t end = std::min(where.find("; ", also), where.size() - 1);
  where.erase(also, end - also);
  if (where == " ()") return "";
  for (const std::string_view left : {"(; ", "; )", "; ; "}) {
    const size_t at = where.find(left);
    if (at != std::string::npos) where.replace(at, left.size(), left == "(; " ? "(" : left == "; )" ? ")" : "; ");
  }
  return where;
}

// Who else keeps the tensor, "" where nobody else is known.
std::string Also(std::string_view name) {
  const size_t also = name.find(kAlso);
  if (also == std::string_view::npos) return "";
  const size_t begin = also + kAlso.size();
  return std::string(name.substr(begin, std::min(name.find("; ", begin), name.size() - 1) - begin));
}

// Where the container stands. What is said of single tensors (a view that keeps all of its storage) is left out, unless
// it is said of each.
std::string SharedWhere(const Votes& votes) {
  const auto has_remark = [](const auto& vote) { return Where(vote.first).find(kRemark) != std::string::npos; };
  const auto without = std::find_if_not(votes.begin(), votes.end(), has_remark);
  return Where(without == votes.end() ? votes.begin()->first : without->first);
}

int64_t Sum(const Votes& votes) {
  int64_t bytes = 0;
  for (const auto& [name, vote] : votes) bytes += vote.bytes;
  return bytes;
}

// A variable that holds one tensor itself does not gather any: it holds the last one that was made.
bool IsLoneVariable(const Votes& votes) {
  const std::string_view name = Expression(votes.begin()->first);
  return votes.size() == 1 && votes.begin()->second.tensors == 1 && name.find_first_of("[. ") == std::string_view::npos;
}

// Names by what they start with.
using Containers = std::map<std::string, Votes>;

void AddVote(const Timeline& t, const std::string& name, const Tensor& tensor, Containers& containers) {
  Vote& vote = containers[Root(name)][name];
  vote.bytes += tensor.bytes;
  ++vote.tensors;
  vote.steps.insert(StepAt(t, tensor.born));
}

// What a search for holders passes over because its owner is known: parameters of a module that gets ever more of them,
// or of an optimizer that is given ever more, with what they have of gradients and state.
Containers OwnedByName(const Facts& facts, const std::set<uint32_t>& leaking) {
  const Timeline& t = *facts.timeline;
  std::map<uint64_t, std::string> owners;
  for (const Module& module : t.modules) {
    if (module.identity == module.root) owners[module.identity] = module.type;
  }
  std::set<uint64_t> optimizers;
  for (const Optimizer& optimizer : t.optimizers) {
    owners[optimizer.identity] = optimizer.type;
    optimizers.insert(optimizer.identity);
  }
  Containers containers;
  std::set<int64_t> counted;
  for (const Role& role : t.roles) {
    const auto owner = owners.find(role.owner);
    if (role.tensor < 0 || owner == owners.end() || !counted.insert(role.tensor).second) continue;
    const Tensor& tensor = t.tensors[static_cast<size_t>(role.tensor)];
    if (!leaking.contains(tensor.stack) || tensor.died <= facts.moment) continue;
    const std::string attribute = optimizers.contains(role.owner) ? "param_groups" : role.name;
    const std::string name = absl::StrCat(owner->second, ".", attribute);
    AddVote(t, name, tensor, containers);
  }
  return containers;
}

// Names of which one change lets go: of one container, or of the tensors that are attributes of one model.
std::string Keeper(const std::string& name) {
  const std::string owner = GraphOwner(name.substr(0, name.find(", through ")));
  const std::string_view expression = Expression(owner);
  const bool is_tensor = KeptByGraph(name) && name.find(kTensorItself) != std::string::npos;
  if (expression.ends_with(".grad") || (is_tensor && expression.find('[') == std::string_view::npos)) {
    return std::string(expression.substr(0, expression.find_first_of("[.")));
  }
  return Root(owner);
}

const Votes& Most(const Containers& containers) {
  return std::max_element(containers.begin(), containers.end(),
                          [](const auto& a, const auto& b) { return Sum(a.second) < Sum(b.second); })
      ->second;
}

// The number in brackets at `at`, -1 where there is none.
int64_t IndexAt(std::string_view expression, size_t at) {
  if (at >= expression.size() || expression[at] != '[') return -1;
  const size_t close = expression.find(']', at);
  if (close == std::string_view::npos || close == at + 1) return -1;
  int64_t index = 0;
  for (const char c : expression.substr(at + 1, close - at - 1)) {
    if (c < '0' || c > '9') return -1;
    index = 10 * index + (c - '0');
  }
  return index;
}

// Several containers of a kind, one for each of a few objects (`net[0].weight.history[7]`, `net[2].bias.history[9]`):
// where the innermost indices run further than those in which the names differ first, it is these that grow. Returns
// the one with the most bytes, "" where what is outside grows.
std::string GrowingInside(const Votes& votes, const std::string& shared) {
  std::map<std::string, int64_t> inner;
  int64_t first_inside = kNever, last_inside = 0, first_outside = kNever, last_outside = 0;
  for (const auto& [name, vote] : votes) {
    const std::string_view expression = Expression(name);
    const size_t open = expression.rfind('[');
    const int64_t inside = open == std::string_view::npos || open <= shared.size() || !expression.ends_with(']')
                               ? -1
                               : IndexAt(expression, open);
    const int64_t outside = IndexAt(expression, shared.size());
    if (inside < 0 || outside < 0) return "";
    first_inside = std::min(first_inside, inside);
    last_inside = std::max(last_inside, inside);
    first_outside = std::min(first_outside, outside);
    last_outside = std::max(last_outside, outside);
    inner[std::string(expression.substr(0, open))] += vote.bytes;
  }
  if (last_inside - first_inside <= last_outside - first_outside) return "";
  return std::max_element(inner.begin(), inner.end(), [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

std::string NameOf(const Votes& votes) {
  const std::string& name = votes.begin()->first;
  if (votes.size() == 1) return Container(std::string(Expression(name)).append(Where(name)));
  const std::string shared = SharedBeginning(votes);
  const std::string inside = GrowingInside(votes, shared);
  return absl::StrCat(inside.empty() ? shared : inside, SharedWhere(votes));
}

// The Python names of what leaks, by the container that they start with.
Containers HoldersOf(const Facts& facts, const Leak& leak) {
  const Timeline& t = *facts.timeline;
  const int64_t last_boundary = t.steps.empty() ? facts.moment : t.steps.back().end;
  const std::set<uint32_t> leaking = leak.stacks();
  Containers containers;
  const auto vote = [&](const Tensor& tensor) {
    // One of the step in work has a name too, the local variable that is about to let it go; unless each step makes all
    // of them anew.
    if (tensor.holder.empty() || !leaking.contains(tensor.stack)) return;
    if (tensor.born > last_boundary && leak.growth != LeakGrowth::kMadeAnew) return;
    // A bank that a larger one replaces is read by the forward in work, whose graph lets go of it by itself.
    if (leak.replaced() && KeptByGraph(tensor.holder.str())) return;
    AddVote(t, tensor.holder.str(), tensor, containers);
  };
  for (const uint32_t i : facts.live) vote(t.tensors[i]);
  // Where none stays, earlier ones were named where the search ran before the end.
  if (containers.empty() && leak.growth != LeakGrowth::kStaying)
    std::for_each(t.tensors.begin(), t.tensors.end(), vote);
  if (!leak.replaced()) std::erase_if(containers, [](const auto& entry) { return IsLoneVariable(entry.second); });
  return containers.empty() ? OwnedByName(facts, leaking) : containers;
}

bool FillsToALimit(const Facts& facts, const LeakGroup& group, const std::string& holder) {
  int64_t limit = 0;
  for (const std::string_view word : {"maxlen=", "maxsize="}) {
    const size_t at = holder.find(word);
    if (at != std::string::npos) limit = std::atoll(holder.c_str() + at + word.size());
  }
  if (limit == 0 || group.births == 0) return false;
  const int64_t missing = (limit - group.births) * (group.total / group.births);
  return missing <= facts.available() - facts.peak_reserved;
}

}  // namespace

std::string HolderOf(const Facts& facts, const Leak& leak) {
  const Containers containers = HoldersOf(facts, leak);
  return containers.empty() ? "" : NameOf(Most(containers));
}

// A variable or a gradient that is bound anew in each step keeps what one step made, and lets go of it by itself.
std::vector<std::string> OtherHoldersOf(const Facts& facts, const Leak& leak) {
  const Containers containers = HoldersOf(facts, leak);
  std::vector<std::string> others;
  if (containers.empty()) return others;
  const Votes& most = Most(containers);
  std::vector<std::string> seen = {Keeper(most.begin()->first)};
  const auto add = [&](const std::string& name, const std::set<size_t>& steps) {
    const std::string keeper = Keeper(name);
    const bool known = std::any_of(seen.begin(), seen.end(), [&](const std::string& other) {
      return keeper == other || keeper.starts_with(other + ".") || other.starts_with(keeper + ".");
    });
    // Of a tensor that is replaced only the last is there.
    const bool lasts =
        leak.replaced() ? Expression(name).find_first_of("[.") != std::string_view::npos : steps.size() > 1;
    if (known || !lasts || GraphOwner(name).starts_with(kNameless)) return;
    seen.push_back(keeper);
    others.push_back(name);
  };
  struct Beside {
    std::string example;
    std::set<size_t> steps;
    int64_t tensors = 0;
  };
  std::map<std::string, Beside> beside;  // by keeper
  int64_t tensors = 0;
  for (const auto& [name, vote] : most) {
    tensors += vote.tensors;
    const std::string also = Also(name);
    if (also.empty()) continue;
    const size_t end = std::min(also.find(", through "), also.size());
    Beside& found = beside[Keeper(also)];
    if (found.example.empty()) found.example = Container(also.substr(0, end)).append(also.substr(end));
    found.steps.insert(vote.steps.begin(), vote.steps.end());
    found.tensors += vote.tensors;
  }
  // A sample that the step in work has drawn from the container keeps a few of them for a while.
  for (const auto& [keeper, found] : beside) {
    if (2 * found.tensors >= tensors) add(found.example, found.steps);
  }
  int64_t all = 0;
  for (const auto& [root, votes] : containers) all += Sum(votes);
  for (const auto& [root, votes] : containers) {
    std::set<size_t> steps;
    for (const auto& [name, vote] : votes) steps.insert(vote.steps.begin(), vote.steps.end());
    if (kWorthAChange * Sum(votes) >= all) add(NameOf(votes), steps);
  }
  return others;
}

void LeaveOutWhatHasALimit(const Facts& facts, Leak& leak) {
  std::erase_if(leak.groups, [&](const LeakGroup& group) {
    Leak alone;
    alone.groups = {group};
    alone.growth = group.growth;
    return FillsToALimit(facts, group, HolderOf(facts, alone));
  });
  SumUp(*facts.timeline, leak);
}

bool KeptByGraph(const std::string& holder) { return holder.starts_with(kGraph); }

bool LeaksGraphs(const Facts& facts, const Leak& leak) {
  if (KeptByGraph(HolderOf(facts, leak))) return true;
  if (!leak.with_graph || leak.scalar) return leak.with_graph;
  // Of what containers hold a few of each kind are named, of what graphs keep all up to a few thousand.
  int64_t by_graph = 0, all = 0;
  bool named = false;
  for (const uint32_t i : LeakedTensors(facts, leak)) {
    const Tensor& tensor = facts.timeline->tensors[i];
    all += tensor.bytes;
    if (KeptByGraph(tensor.holder.str())) by_graph += tensor.bytes;
    named = named || !tensor.holder.empty();
  }
  return !named || 4 * by_graph >= all;
}

std::string GraphOwner(const std::string& holder) { return holder.substr(KeptByGraph(holder) ? kGraph.size() : 0); }

}  // namespace oomtrace
