// Where in the user's program something happened.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// The innermost frame that the user wrote: not in site-packages, the standard library, a compiler cache or a generated
// string. Where there is none, the innermost frame outside PyTorch, else the innermost. An empty file: no stack.
Frame SiteOf(const Timeline& timeline, uint32_t stack);

// "train.py:31", the last two parts of the path.
std::string ShortSite(const Frame& frame);
std::string ShortPath(const std::string& path);

// True for a stack that passes through a graph compiled by torch.compile.
bool IsCompiled(const Timeline& timeline, uint32_t stack);

}  // namespace oomtrace
