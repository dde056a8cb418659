// Memory that grows without bound: tensors that stay alive from boundary to boundary and grow in number.
//
// The boundaries are the ends of optimizer steps, or of backward passes where a program has no optimizer. Tensors are
// grouped by the statement that made them. A group leaks when its bytes alive at boundaries rise through to the last
// one, by like amounts at like distances, above any level that it ever came back from, and not as the batches do. So
// these are no leaks:
// parameters and state (born once), a warm-up or a filled cache (the rise has ended), a bounded queue (as much dies as
// is born), a buffer that is emptied now and then (it has been as high before).
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

enum class LeakGrowth : uint8_t {
  kStaying,   // tensors stay, and new ones come
  kReplaced,  // one tensor, replaced by a larger one each time
  kMadeAnew,  // all of them are made anew, and more of them each time
  kQueued     // older ones go, but more come
};

struct LeakGroup {
  std::vector<uint32_t> stacks;  // of the one statement (SameStatements), in order
  uint32_t example = 0;          // index into Timeline::tensors: the largest of the leaked ones
  double bytes_per_boundary = 0;
  double tensors_per_boundary = 0;
  int64_t total = 0;   // bytes leaked, up to the last boundary
  int64_t since = 0;   // index of the boundary from which it grows
  int64_t births = 0;  // boundaries between which something was added
  LeakGrowth growth = LeakGrowth::kStaying;
};

struct Leak {
  bool found = false;
  double bytes_per_boundary = 0;
  double tensors_per_boundary = 0;
  int64_t total = 0;
  int64_t since = 0;
  int64_t births = 0;  // of the group that grew most
  bool boundaries_are_steps = true;
  LeakGrowth growth = LeakGrowth::kStaying;  // of the group that grew most
  bool with_graph = false;                   // activations of older steps: something keeps the graph of each
  bool scalar = false;                       // what leaks most are scalars
  std::vector<LeakGroup> groups;             // largest first

  std::set<uint32_t> stacks() const;  // of all groups
  bool replaced() const { return growth == LeakGrowth::kReplaced; }
};

// Looks at boundaries up to `until` (ns), when the run `died` of memory or ended otherwise.
Leak FindLeak(const Timeline& timeline, int64_t until, bool died);

struct Facts;
// Of the live tensors, those that leaked: made by its statements before the last boundary.
std::vector<uint32_t> LeakedTensors(const Facts& facts, const Leak& leak);

// Fills what a leak says of all its groups from `groups`.
void SumUp(const Timeline& timeline, Leak& leak);

}  // namespace oomtrace
