#include "analyzer/diagnose/site.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {

Frame SiteOf(const Timeline& timeline, uint32_t stack) {
  const Frame* frame = stack < timeline.stacks.size() ? UserFrame(timeline, stack) : nullptr;
  return frame ? *frame : Frame();
}

Frame CallOfModel(const Timeline& timeline, uint32_t stack) {
  if (stack >= timeline.stacks.size()) return Frame();
  const std::vector<uint32_t>& frames = timeline.stacks[stack].frames;
  const auto outermost = std::find_if(frames.rbegin(), frames.rend(), [&](uint32_t frame) {
    return frame < timeline.frames.size() && IsFunction(timeline.frames[frame], "_call_impl");
  });
  if (outermost == frames.rend()) return SiteOf(timeline, stack);
  for (auto frame = outermost.base(); frame != frames.end(); ++frame) {
    if (*frame < timeline.frames.size() && IsUserFrame(timeline.frames[*frame])) return timeline.frames[*frame];
  }
  return SiteOf(timeline, stack);
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
    return frame < timeline.frames.size() && IsInductorFile(timeline.frames[frame].file);
  });
}

}  // namespace oomtrace
