#include "analyzer/timeline/samples.h"

#include <utility>

namespace oomtrace {
namespace {

const Sample& Higher(const Sample& a, const Sample& b) {
  if (a.tensors != b.tensors) return a.tensors > b.tensors ? a : b;
  return a.reserved > b.reserved ? a : b;
}

}  // namespace

void SampleSeries::Add(const Sample& sample) {
  pending_ = in_group_ == 0 ? sample : Higher(pending_, sample);
  if (++in_group_ < group_size_) return;
  in_group_ = 0;
  samples_.push_back(pending_);
  if (samples_.size() == kMost) Halve();
}

void SampleSeries::Halve() {
  for (size_t i = 0; i < samples_.size() / 2; ++i) samples_[i] = Higher(samples_[2 * i], samples_[2 * i + 1]);
  samples_.resize(samples_.size() / 2);
  group_size_ *= 2;
}

std::vector<Sample> SampleSeries::Take() {
  if (in_group_ > 0) samples_.push_back(pending_);
  in_group_ = 0;
  return std::exchange(samples_, {});
}

}  // namespace oomtrace
