// The merged verdict of several ranks for a person at a terminal: what happened first, the ranks in a table, why the
// one differs from the others.
#pragma once

#include <string>

#include "analyzer/render/text.h"
#include "job.pb.h"

namespace oomtrace {

std::string RenderText(const report::Job& job, const TextOptions& options);

}  // namespace oomtrace
