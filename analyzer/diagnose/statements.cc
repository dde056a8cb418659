#include "analyzer/diagnose/statements.h"

#include <algorithm>

#include "analyzer/timeline/queries.h"

namespace oomtrace {

Statements::Statements(const Timeline& timeline, int64_t begin, int64_t end) : timeline_(timeline) {
  const auto add = [&](int64_t time, uint32_t stack) {
    if (stack != 0 && time >= begin && time <= end) marks_.push_back({time, stack});
  };
  for (const LaunchMark& launch : timeline.gpu_time.launches) add(launch.time, launch.stack);
  for (const Tensor& tensor : timeline.tensors) add(tensor.born, tensor.stack);
  std::stable_sort(marks_.begin(), marks_.end(),
                   [](const LaunchMark& a, const LaunchMark& b) { return a.time < b.time; });
}

size_t Statements::At(int64_t time) const {
  const auto after = std::upper_bound(marks_.begin(), marks_.end(), time,
                                      [](int64_t at, const LaunchMark& mark) { return at < mark.time; });
  return after == marks_.begin() ? marks_.size() : static_cast<size_t>(after - marks_.begin()) - 1;
}

// Frames are innermost first: the i-th from the end is the i-th from outside.
size_t Statements::DepthOf(uint32_t made, uint32_t stack) const {
  const std::vector<uint32_t>& maker = timeline_.stacks[made].frames;
  const std::vector<uint32_t>& user = timeline_.stacks[stack].frames;
  size_t depth = 0;
  while (depth < std::min(maker.size(), user.size())) {
    const Frame& a = timeline_.frames[maker[maker.size() - 1 - depth]];
    const Frame& b = timeline_.frames[user[user.size() - 1 - depth]];
    if (a.file != b.file || a.function != b.function) break;
    ++depth;
    if (a.line != b.line) break;
  }
  if (depth == 0) depth = user.size();
  while (depth > 0 && !IsUserFrame(timeline_.frames[user[user.size() - depth]])) --depth;
  if (depth > 0) return depth;
  // Nothing of the user's is common to both: the innermost of the user's there is.
  for (size_t i = 0; i < user.size(); ++i) {
    if (IsUserFrame(timeline_.frames[user[i]])) return user.size() - i;
  }
  return std::min<size_t>(1, user.size());
}

bool Statements::Inside(uint32_t stack, uint32_t statement, size_t depth) const {
  if (stack == statement) return true;
  const std::vector<uint32_t>& frames = timeline_.stacks[stack].frames;
  const std::vector<uint32_t>& wanted = timeline_.stacks[statement].frames;
  return frames.size() >= depth &&
         std::equal(wanted.rbegin(), wanted.rbegin() + static_cast<int64_t>(depth), frames.rbegin());
}

Frame Statements::FrameOf(uint32_t stack, size_t depth) const {
  const std::vector<uint32_t>& frames = timeline_.stacks[stack].frames;
  return depth == 0 ? Frame() : timeline_.frames[frames[frames.size() - depth]];
}

StatementEdge Statements::EndOf(uint32_t made, int64_t use) const {
  StatementEdge edge{.time = kNever, .frame = {}};
  size_t mark = At(use);
  if (mark == marks_.size()) return edge;
  const uint32_t statement = marks_[mark].stack;
  const size_t depth = DepthOf(made, statement);
  edge.frame = FrameOf(statement, depth);
  while (++mark < marks_.size() && Inside(marks_[mark].stack, statement, depth)) {
  }
  if (mark < marks_.size()) edge.time = marks_[mark].time;
  // A loop that is one statement here goes on: what holds the tensor can let go of it between two steps.
  const size_t step = StepAt(timeline_, use);
  if (step < timeline_.steps.size()) edge.time = std::min(edge.time, std::max(timeline_.steps[step].end, use + 1));
  return edge;
}

StatementEdge Statements::BeginOf(uint32_t made, int64_t use) const {
  StatementEdge edge{.time = use, .frame = {}};
  size_t mark = At(use);
  if (mark == marks_.size()) return edge;
  const uint32_t statement = marks_[mark].stack;
  const size_t depth = DepthOf(made, statement);
  edge.frame = FrameOf(statement, depth);
  while (mark > 0 && Inside(marks_[mark - 1].stack, statement, depth)) --mark;
  edge.time = std::min(use, marks_[mark].time);
  const size_t step = StepAt(timeline_, use);
  if (step > 0) edge.time = std::max(edge.time, std::min(timeline_.steps[step - 1].end, use));
  return edge;
}

}  // namespace oomtrace
