#include "analyzer/diagnose/waste.h"

#include <algorithm>

#include "analyzer/diagnose/states.h"
#include "analyzer/timeline/queries.h"
#include "trace.pb.h"

namespace oomtrace {
namespace {

// How far before its own last forward use a graph's other tensors are looked for.
constexpr int64_t kGraphSearchNs = 1'000'000'000;

// Kept on purpose from step to step, and not always used in each.
bool IsKept(Category category) { return IsParameterState(category) || category == Category::kKvCache; }

bool WindowLastedToExit(const GpuTime& gpu, const GpuTime::Window& window) {
  return std::any_of(gpu.changes.begin(), gpu.changes.end(), [&](const CollectorChange& change) {
    return change.time == window.end && change.state == trace::CollectorState::DEAD;
  });
}

bool Covers(int64_t begin, int64_t end, int64_t moment) {
  return moment == kNever ? begin < end : begin <= moment && moment < end;
}

}  // namespace

const char* WasteName(WasteKind kind) {
  switch (kind) {
    case WasteKind::kDead:
      return "dead";
    case WasteKind::kNeverRead:
      return "never_read";
    case WasteKind::kUnused:
      return "unused";
    case WasteKind::kDuplicate:
      return "duplicate";
    case WasteKind::kTooEarly:
      return "too_early";
  }
  return "";
}

WasteFinder::WasteFinder(const Facts& facts, const GpuTime::Window& window)
    : facts_(facts),
      t_(*facts.timeline),
      gpu_(t_.gpu_time),
      window_(window),
      to_exit_(facts.oom == nullptr && t_.exited && t_.exit_status == 0 && WindowLastedToExit(gpu_, window)),
      statements_(t_, window.begin, window.end),
      likes_(t_, window) {
  for (size_t i = 0; i < t_.steps.size(); ++i) {
    const bool whole = (i > 0 ? t_.steps[i].begin : t_.first_training_forward) >= window.begin;
    if (whole && t_.steps[i].end <= window.end) ++whole_steps_;
  }
}

const TensorAccess* WasteFinder::AccessOf(int64_t index) const {
  const auto found = gpu_.accesses.find(index);
  return found == gpu_.accesses.end() ? nullptr : &found->second;
}

bool WasteFinder::Over(const Tensor& tensor) const {
  // What a program that failed let go of on its way out it may have wanted to read later.
  const bool failed = facts_.oom == nullptr && t_.exited && t_.exit_status != 0;
  if (failed && tensor.died >= t_.tensors.back().born) return false;
  return Ended(tensor) || (to_exit_ && !IsKept(tensor.category));
}

bool WasteFinder::WholeStepIn(int64_t begin, int64_t end) const {
  for (size_t i = 0; i < t_.steps.size(); ++i) {
    const int64_t step = i > 0 || t_.first_training_forward == kNever ? t_.steps[i].begin : t_.first_training_forward;
    if (step >= begin && t_.steps[i].end <= end) return true;
  }
  return false;
}

bool WasteFinder::LikeItsLikes(uint32_t index, const TensorAccess* access, bool unread) const {
  const Category category = T(index).category;
  if (category == Category::kParameter || category == Category::kOptimizerState) return false;
  const int64_t uses = access != nullptr ? access->uses : 0;
  bool any = false;
  for (int64_t step = likes_.first_step(); step < T(index).step; ++step) {
    for (const uint32_t like : likes_.In(step, index)) {
      if (!Ended(T(like))) continue;
      const TensorAccess* other = AccessOf(like);
      const int64_t theirs = other != nullptr ? other->uses : 0;
      if (unread ? other != nullptr && other->reads > 0 : theirs != uses) return false;
      any = true;
    }
  }
  return any;
}

std::optional<Wasted> WasteFinder::NotRead(uint32_t index, const TensorAccess* access) const {
  const Tensor& tensor = T(index);
  if (gpu_.last_unknown >= Begin(tensor)) return std::nullopt;
  const bool known =
      Over(tensor) || WholeStepIn(Begin(tensor), End(tensor)) || LikeItsLikes(index, access, /*unread=*/true);
  if (!known) return std::nullopt;
  // What was filled before the window may be read by what comes after it.
  const bool unused = access == nullptr && tensor.born < window_.begin;
  Wasted waste;
  waste.tensor = index;
  waste.kind = unused ? WasteKind::kUnused : WasteKind::kNeverRead;
  waste.lives = {{index, 0, 0}};
  waste.open = !Over(tensor);
  return waste;
}

std::optional<Wasted> WasteFinder::Duplicate(uint32_t index, const TensorAccess& access) const {
  if (access.copy_of < 0) return std::nullopt;
  for (const uint32_t one : {index, static_cast<uint32_t>(access.copy_of)}) {
    const bool known =
        Over(T(one)) || WholeStepIn(access.copied, window_.end) || LikeItsLikes(one, AccessOf(one), /*unread=*/false);
    if (!known) return std::nullopt;
  }
  return CopyOf(index, access);
}

// What was a copy all the time, as far as the window goes. What the autograd engine copies for itself (the base of a
// square, for its gradient) no statement can do without.
std::optional<Wasted> WasteFinder::CopyOf(uint32_t index, const TensorAccess& access) const {
  if (access.copy_of < 0 || access.changed > access.copied) return std::nullopt;
  const auto original = static_cast<uint32_t>(access.copy_of);
  const Tensor& copy = T(index);
  const Tensor& other = T(original);
  const TensorAccess* others = AccessOf(access.copy_of);
  if (others != nullptr && others->changed > access.copied) return std::nullopt;
  if (copy.born < window_.begin || gpu_.last_unknown >= access.copied) return std::nullopt;
  if (copy.backward && PlaceOf(t_, copy.stack, copy.forward_stack) != copy.stack) return std::nullopt;
  Wasted waste;
  waste.tensor = index;
  waste.kind = WasteKind::kDuplicate;
  waste.original = access.copy_of;
  // Who used the copy needs the original as long.
  const int64_t needed =
      copy.died == kNever ? kNever : std::min(copy.died, statements_.EndOf(copy.stack, access.last).time);
  waste.lives = {{index, 0, 0}, {original, other.born, std::max(other.died, needed)}};
  waste.open = !Over(copy) || !Over(other);
  return waste;
}

// What a backward pass saved is let go of node by node: the engine is through with one when it allocates for another.
// Where the pass keeps its graph (retain_graph), nothing that the forward made is freed in it.
int64_t WasteFinder::ReleasedByGraph(const TensorAccess& access) const {
  const auto pass = std::find_if(t_.backward_passes.begin(), t_.backward_passes.end(),
                                 [&](const BackwardPass& p) { return p.begin <= access.last && access.last <= p.end; });
  if (pass == t_.backward_passes.end() || pass->end == kNever) return kNever;
  const auto after = [&](int64_t time) {
    return std::upper_bound(t_.tensors.begin(), t_.tensors.end(), time,
                            [](int64_t at, const Tensor& tensor) { return at < tensor.born; });
  };
  const auto first = after(access.last);
  const Tensor* running = first == t_.tensors.begin() ? nullptr : &*std::prev(first);
  int64_t released = pass->end;
  for (auto next = first; next != t_.tensors.end() && next->born < pass->end; ++next) {
    const bool same = running != nullptr && running->backward && next->node == running->node &&
                      next->forward_stack == running->forward_stack;
    if (same) continue;
    released = next->born;
    break;
  }
  const auto pass_begin = after(pass->begin);
  const auto before = t_.steps.empty() ? t_.tensors.begin() : after(access.last_by_python - kGraphSearchNs);
  const bool frees = std::any_of(before, pass_begin, [&](const Tensor& tensor) {
    return tensor.category == Category::kActivation && tensor.died > pass->begin && tensor.died < pass->end;
  });
  return frees ? released : kNever;
}

StatementEdge WasteFinder::Released(const Tensor& tensor, const TensorAccess& access) const {
  if (access.last_stack == 0 && access.last_by_python >= 0) {
    const int64_t released = ReleasedByGraph(access);
    if (released != kNever) return {released, statements_.EndOf(tensor.stack, access.last_by_python).frame};
  }
  return statements_.EndOf(tensor.stack, access.last);
}

// What is wasted before the first and after the last use.
std::optional<Wasted> WasteFinder::Bounds(uint32_t index, const TensorAccess& access, int64_t moment) const {
  const Tensor& tensor = T(index);
  Wasted waste;
  waste.tensor = index;
  OtherLife life{index, tensor.born, tensor.died};
  const int64_t end = End(tensor);
  bool found = false;
  const bool ahead = tensor.born >= window_.begin && !IsKept(tensor.category) && access.needed != kNever &&
                     gpu_.last_unknown < tensor.born;
  if (ahead && Covers(tensor.born, access.needed, moment)) {
    const StatementEdge first = statements_.BeginOf(tensor.stack, access.needed);
    if (Covers(tensor.born + 1, first.time, moment == kNever ? kNever : std::max(moment, tensor.born + 1))) {
      waste.kind = WasteKind::kTooEarly;
      waste.after = first.frame;
      life.born = first.time;
      found = true;
    }
  }
  if (gpu_.last_unknown < access.last && Covers(access.last, end, moment)) {
    const StatementEdge last = Released(tensor, access);
    const bool known = Over(tensor) || WholeStepIn(last.time, end) || LikeItsLikes(index, &access, /*unread=*/false);
    if (known && last.time < end && Covers(last.time, end, moment)) {
      waste.kind = WasteKind::kDead;
      waste.after = last.frame;
      life.died = last.time;
      waste.open = !Over(tensor);
      found = true;
    }
  }
  if (!found) return std::nullopt;
  waste.lives = {life};
  return waste;
}

std::optional<WasteFinder::Precedent> WasteFinder::PrecedentOf(uint32_t index) const {
  std::optional<Precedent> precedent;
  for (const uint32_t like : likes_.In(likes_.last_step() - 1, index)) {
    const auto waste = JudgeByUses(like, kNever);
    if (!waste || (precedent && precedent->kind != waste->kind)) return std::nullopt;
    const TensorAccess* access = AccessOf(like);
    const int64_t uses = access != nullptr ? access->uses : 0;
    precedent = Precedent{waste->kind, !precedent || precedent->uses == uses ? uses : -1};
  }
  return precedent;
}

std::optional<Wasted> WasteFinder::JudgeByLikes(uint32_t index, int64_t moment) const {
  const Tensor& tensor = T(index);
  if (tensor.step != likes_.last_step() || Ended(tensor) || gpu_.last_unknown >= Begin(tensor)) return std::nullopt;
  const auto precedent = PrecedentOf(index);
  if (!precedent) return std::nullopt;
  const TensorAccess* access = AccessOf(index);
  Wasted waste;
  waste.tensor = index;
  waste.kind = precedent->kind;
  waste.open = true;
  if (waste.kind == WasteKind::kNeverRead && (access == nullptr || access->reads == 0)) {
    waste.lives = {{index, 0, 0}};
    return waste;
  }
  if (NotNeededYet(tensor, access)) {
    waste.lives = {{index, window_.end, tensor.died}};
    return waste;
  }
  if (access == nullptr) return std::nullopt;
  if (waste.kind == WasteKind::kDuplicate) return CopyOf(index, *access);
  if (waste.kind != WasteKind::kDead || access->uses != precedent->uses) return std::nullopt;
  const StatementEdge last = Released(tensor, *access);
  if (last.time >= window_.end || !Covers(last.time, window_.end, moment)) return std::nullopt;
  waste.after = last.frame;
  waste.lives = {{index, tensor.born, last.time}};
  return waste;
}

// A gradient that each backward adds to, and that no statement has used: an optimizer's step or a hook would be one.
bool WasteFinder::OnlyAddedTo(const Tensor& tensor, const TensorAccess& access) const {
  return tensor.category == Category::kGradient && access.last_by_python < 0 && WholeStepIn(Begin(tensor), End(tensor));
}

// What the last step made and at most filled until the window's end: whatever is to come, it could have come later.
bool WasteFinder::NotNeededYet(const Tensor& tensor, const TensorAccess* access) const {
  const bool step_over = StepsEndedBy(t_, window_.end) > likes_.last_step();
  return step_over && tensor.step == likes_.last_step() && tensor.born >= window_.begin && !Ended(tensor) &&
         !IsKept(tensor.category) && gpu_.last_unknown < tensor.born && (access == nullptr || access->needed == kNever);
}

std::optional<Wasted> WasteFinder::Judge(uint32_t index, int64_t moment) const {
  const Tensor& tensor = T(index);
  if (tensor.category == Category::kWorkspace || tensor.layout == 0 || Begin(tensor) >= End(tensor))
    return std::nullopt;
  if (auto waste = JudgeByUses(index, moment)) return waste;
  if (auto waste = JudgeByLikes(index, moment)) return waste;
  if (!NotNeededYet(tensor, AccessOf(index)) || !Covers(tensor.born, window_.end, moment)) return std::nullopt;
  Wasted waste;
  waste.tensor = index;
  waste.kind = WasteKind::kTooEarly;
  waste.lives = {{index, window_.end, tensor.died}};
  waste.open = true;
  return waste;
}

std::optional<Wasted> WasteFinder::JudgeByUses(uint32_t index, int64_t moment) const {
  const TensorAccess* access = AccessOf(index);
  if (access == nullptr || access->reads == 0 || OnlyAddedTo(T(index), *access)) return NotRead(index, access);
  if (auto waste = Duplicate(index, *access)) return waste;
  return Bounds(index, *access, moment);
}

}  // namespace oomtrace
