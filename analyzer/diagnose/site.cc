#include "analyzer/diagnose/site.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace oomtrace {
namespace {

bool IsLibrary(const std::string& file) {
  if (file.empty() || file.front() == '<') return true;
  for (const char* part : {"/site-packages/", "/dist-packages/", "/torchinductor_", "/torch_compile_debug/"}) {
    if (absl::StrContains(file, part)) return true;
  }
  // The standard library: .../lib/python3.11/queue.py
  const size_t at = file.find("/lib/python3");
  return at != std::string::npos;
}

bool IsTorch(const std::string& file) {
  return file.empty() || file.front() == '<' || absl::StrContains(file, "/torch/") ||
         absl::StrContains(file, "/torchinductor_");
}

}  // namespace

Frame SiteOf(const Timeline& timeline, uint32_t index) {
  if (index == 0 || index >= timeline.stacks.size()) return {};
  const Stack& stack = timeline.stacks[index];
  for (const auto& refused : {IsLibrary, IsTorch}) {
    for (const uint32_t frame : stack.frames) {
      if (frame < timeline.frames.size() && !refused(timeline.frames[frame].file)) return timeline.frames[frame];
    }
  }
  return stack.frames.empty() || stack.frames.front() >= timeline.frames.size() ? Frame()
                                                                                : timeline.frames[stack.frames.front()];
}

std::string ShortPath(const std::string& path) {
  const size_t last = path.rfind('/');
  if (last == std::string::npos || last == 0) return path;
  const size_t before = path.rfind('/', last - 1);
  return before == std::string::npos ? path : path.substr(before + 1);
}

std::string ShortSite(const Frame& frame) {
  return frame.file.empty() ? "an unknown line" : absl::StrCat(ShortPath(frame.file), ":", frame.line);
}

bool IsCompiled(const Timeline& timeline, uint32_t index) {
  if (index == 0 || index >= timeline.stacks.size()) return false;
  const std::vector<uint32_t>& frames = timeline.stacks[index].frames;
  return std::any_of(frames.begin(), frames.end(), [&](uint32_t frame) {
    return frame < timeline.frames.size() && absl::StrContains(timeline.frames[frame].file, "/torchinductor_");
  });
}

}  // namespace oomtrace
