// Where in the user's program something happened.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// The frame of `stack` to show (UserFrame of timeline/queries.h); an empty file: there is no stack.
Frame SiteOf(const Timeline& timeline, uint32_t stack);

// The statement that called the model: the first of the user's outside of all module calls on the stack. Where no
// module was being called, SiteOf.
Frame CallOfModel(const Timeline& timeline, uint32_t stack);

// "train.py:31", the last two parts of the path.
std::string ShortSite(const Frame& frame);
std::string ShortPath(const std::string& path);

// True for a stack that passes through a graph compiled by torch.compile.
bool IsCompiled(const Timeline& timeline, uint32_t stack);

}  // namespace oomtrace
