#include "cli/environment.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace oomtrace {

Environment Environment::Inherited() {
  Environment environment;
  for (char** line = environ; *line != nullptr; ++line) {
    const char* equals = std::strchr(*line, '=');
    if (equals != nullptr) environment.variables_[std::string(*line, equals - *line)] = equals + 1;
  }
  return environment;
}

std::string Environment::Get(const std::string& name) const {
  const auto found = variables_.find(name);
  return found == variables_.end() ? "" : found->second;
}

void Environment::Preload(const std::vector<std::string>& libraries) {
  std::vector<std::string> all = libraries;
  // ld.so(8): the list is separated by spaces or colons.
  const std::string before = Get("LD_PRELOAD");
  for (const auto& library : absl::StrSplit(before, absl::ByAnyChar(" :"), absl::SkipEmpty())) {
    if (std::find(all.begin(), all.end(), library) == all.end()) all.emplace_back(library);
  }
  Set("LD_PRELOAD", absl::StrJoin(all, ":"));
}

std::vector<std::string> Environment::Lines() const {
  std::vector<std::string> lines;
  lines.reserve(variables_.size());
  for (const auto& [name, value] : variables_) lines.push_back(absl::StrCat(name, "=", value));
  return lines;
}

}  // namespace oomtrace
