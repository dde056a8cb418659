// Where a statement of the program ends and where it begins, in the order of what it enqueued and allocated: a `del`
// takes effect after a statement, not amid it.
#pragma once

#include <cstdint>
#include <vector>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

struct StatementEdge {
  int64_t time = 0;  // kNever: not seen
  Frame frame;       // the statement; an empty file: there is no stack
};

// Of the launches and allocations in [begin, end], as far as their threads have a Python stack. Work of the autograd
// engine's threads belongs to the statement that is running. Points into the timeline.
class Statements {
 public:
  Statements(const Timeline& timeline, int64_t begin, int64_t end);

  // The statement that runs at `use`, in the innermost function of the user's that was also running when something was
  // allocated under the stack `made` (it can hold it): when it is over, at the latest with its training step.
  StatementEdge EndOf(uint32_t made, int64_t use) const;
  // The same statement's begin, at the earliest that of its training step.
  StatementEdge BeginOf(uint32_t made, int64_t use) const;

 private:
  // Index into marks_ of what runs at a time, marks_.size(): nothing is known.
  size_t At(int64_t time) const;
  // How many of the outermost frames of the stack, the statement's own the last of them.
  size_t DepthOf(uint32_t made, uint32_t stack) const;
  bool Inside(uint32_t stack, uint32_t statement, size_t depth) const;
  Frame FrameOf(uint32_t stack, size_t depth) const;

  const Timeline& timeline_;
  std::vector<LaunchMark> marks_;  // in order of time
};

}  // namespace oomtrace
