#include "cli/invocation.h"

#include <cstdio>
#include <string_view>

namespace oomtrace {

Invocation SplitAtSeparator(int argc, const char* const* argv) {
  Invocation invocation;
  for (int i = 1; i < argc; ++i) {
    if (invocation.has_separator) {
      invocation.command.emplace_back(argv[i]);
    } else if (std::string_view(argv[i]) == "--") {
      invocation.has_separator = true;
    } else {
      invocation.arguments.emplace_back(argv[i]);
    }
  }
  return invocation;
}

void PrintError(const std::string& what, const std::string& advice) {
  std::fprintf(stderr, "oomtrace: %s\n", what.c_str());
  if (!advice.empty()) std::fprintf(stderr, "  %s\n", advice.c_str());
}

}  // namespace oomtrace
