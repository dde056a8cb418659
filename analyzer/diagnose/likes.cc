#include "analyzer/diagnose/likes.h"

#include <algorithm>

namespace oomtrace {
namespace {

uint64_t PlaceKey(const Tensor& tensor) { return uint64_t{tensor.stack} << 32 | tensor.layout; }

}  // namespace

Likes::Likes(const Timeline& timeline, const GpuTime::Window& window) : tensors_(timeline.tensors) {
  for (uint32_t i = 0; i < tensors_.size(); ++i) {
    const Tensor& tensor = tensors_[i];
    if (tensor.device != timeline.device || tensor.born < window.begin || tensor.born > window.end) continue;
    made_[PlaceKey(tensor)].push_back(i);
    first_step_ = std::min(first_step_, tensor.step);
    last_step_ = std::max(last_step_, tensor.step);
  }
}

std::vector<uint32_t> Likes::In(int64_t step, uint32_t index) const {
  const auto made = made_.find(PlaceKey(tensors_[index]));
  if (made == made_.end()) return {};
  const auto of_step = [&](int64_t wanted) {
    const auto begin = std::partition_point(made->second.begin(), made->second.end(),
                                            [&](uint32_t i) { return tensors_[i].step < wanted; });
    return std::pair{
        begin, std::partition_point(begin, made->second.end(), [&](uint32_t i) { return tensors_[i].step == wanted; })};
  };
  const auto [begin, end] = of_step(step);
  const auto [own, own_end] = of_step(tensors_[index].step);
  const auto place = std::find(own, own_end, index) - own;
  // The window may end amid the last step.
  const bool cut = tensors_[index].step == last_step_ && own_end - own < end - begin;
  const bool same_number = end - begin == own_end - own;
  if ((same_number || cut) && place < end - begin) return {begin[place]};
  return {begin, end};
}

}  // namespace oomtrace
