// What `fit` found, as text and as JSON.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/search.h"
#include "cli/trial.h"
#include "cli/vary.h"

namespace oomtrace {

// One search: a card, and values of the variables that are not searched.
struct FitRow {
  std::string gpu;
  Values fixed;
  std::map<int64_t, Trial> trials;
  bool finished = false;  // false: an error ended the search

  Tried tried() const;
  std::optional<int64_t> largest() const { return LargestThatFits(tried()); }
};

struct FitReport {
  std::vector<std::string> command;  // with its places
  Variation varied;
  TrialGoal goal;
  std::vector<FitRow> rows;
  std::string error;  // that ended it, "": none
};

// "batch_size=8 width=512".
std::string Described(const Values& values);

std::string RenderFitText(const FitReport& report, bool color, int columns);
std::string RenderFitJson(const FitReport& report);

}  // namespace oomtrace
