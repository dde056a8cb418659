// How far a reading of a trace has come.
#pragma once

#include <functional>

namespace oomtrace {

// Gets the share that is done, from 0 to 1, on the thread that reads; often, but not for every event. May be empty.
using Progress = std::function<void(double share)>;

// The part of `progress` from `begin` to `end`, as a progress of its own.
inline Progress PartOf(const Progress& progress, double begin, double end) {
  if (!progress) return {};
  return [progress, begin, end](double share) { progress(begin + (end - begin) * share); };
}

}  // namespace oomtrace
