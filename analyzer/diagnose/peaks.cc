#include "analyzer/diagnose/peaks.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/timeline/queries.h"
#include "analyzer/timeline/steps.h"

namespace oomtrace {
namespace {

constexpr int64_t kProminence = 50;  // of the highest peak: what rises and falls by less is a ripple
constexpr size_t kPeaks = 5;
constexpr size_t kModules = 8;

// The maxima between which memory falls and rises again by at least `prominence` bytes.
std::vector<Sample> LocalMaxima(const std::vector<Sample>& samples, int64_t until, int64_t prominence) {
  std::vector<Sample> maxima;
  Sample highest;
  int64_t lowest = 0;  // since the last maximum
  bool rising = true;
  for (const Sample& sample : samples) {
    if (sample.time > until) break;
    if (rising) {
      if (sample.tensors > highest.tensors) highest = sample;
      if (sample.tensors > highest.tensors - prominence) continue;
      maxima.push_back(highest);
      rising = false;
      lowest = sample.tensors;
    } else {
      lowest = std::min(lowest, sample.tensors);
      if (sample.tensors < lowest + prominence) continue;
      rising = true;
      highest = sample;
    }
  }
  if (rising && highest.tensors > 0) maxima.push_back(highest);
  return maxima;
}

// The tensor whose allocation made the peak; null where it has no record.
const Tensor* BornAt(const Timeline& timeline, int64_t time) {
  auto tensor = std::lower_bound(timeline.tensors.begin(), timeline.tensors.end(), time,
                                 [](const Tensor& t, int64_t at) { return t.born < at; });
  const Tensor* found = nullptr;
  for (; tensor != timeline.tensors.end() && tensor->born == time; ++tensor) {
    if (tensor->device == timeline.device) found = &*tensor;
  }
  return found;
}

MemoryPeak PeakOf(const Facts& facts, const Sample& sample) {
  const Timeline& t = *facts.timeline;
  MemoryPeak peak;
  peak.time = sample.time;
  peak.bytes = sample.tensors;
  peak.phase = PhaseAt(t, sample.time);
  peak.times = 1;
  if (const Tensor* last = BornAt(t, sample.time)) {
    peak.phase = last->phase;
    peak.place = PlaceOf(t, last->stack, last->forward_stack);
    peak.step = last->step;
    peak.micro_batch = last->micro_batch;
  } else if (sample.birth) {
    peak.phase = sample.phase;
    peak.place = sample.place;
    peak.step = StepsEndedBy(t, sample.time);
    peak.micro_batch = MicroBatch(t, peak.step, sample.time);
  }
  return peak;
}

MemoryPeak Death(const Facts& facts) {
  const OutOfMemory& oom = *facts.oom;
  return {.time = oom.time,
          .bytes = oom.allocated + facts.refused,
          .phase = oom.phase,
          .place = PlaceOf(*facts.timeline, oom.stack, oom.forward_stack),
          .step = oom.step,
          .micro_batch = oom.micro_batch,
          .times = 1};
}

void FillCategories(const Facts& facts, const MemoryPeak& peak, const std::vector<size_t>& live,
                    report::Categories& out) {
  const Timeline& t = *facts.timeline;
  std::map<std::string, int64_t> bytes;
  int64_t known = 0;
  for (const size_t i : live) {
    bytes[CategoryName(t.tensors[i].category)] += t.tensors[i].bytes;
    known += t.tensors[i].bytes;
  }
  const bool death = facts.oom != nullptr && peak.time == facts.oom->time;
  const int64_t whole = death ? facts.oom->allocated : peak.bytes;
  bytes[CategoryName(Category::kUnknown)] += std::max<int64_t>(0, whole - known);
  const google::protobuf::Descriptor* type = report::Categories::descriptor();
  for (int i = 0; i < type->field_count(); ++i)
    out.GetReflection()->SetInt64(&out, type->field(i), bytes[std::string(type->field(i)->name())]);
}

void FillModules(const Timeline& t, const std::vector<size_t>& live, report::HighPeak& out) {
  struct Share {
    int64_t bytes = 0;
    int64_t tensors = 0;
  };
  std::map<std::pair<std::string, Category>, Share> shares;
  std::map<std::string, std::string> patterns;
  for (const size_t i : live) {
    const Tensor& tensor = t.tensors[i];
    auto pattern = patterns.find(tensor.module.str());
    if (pattern == patterns.end())
      pattern = patterns.emplace(tensor.module.str(), ModuleOfAllLayers(tensor.module.str())).first;
    Share& share = shares[{pattern->second, tensor.category}];
    share.bytes += tensor.bytes;
    ++share.tensors;
  }
  std::vector<std::pair<std::pair<std::string, Category>, Share>> sorted(shares.begin(), shares.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second.bytes > b.second.bytes; });
  if (sorted.size() > kModules) sorted.resize(kModules);
  for (const auto& [key, share] : sorted) {
    report::ModuleShare* module = out.add_modules();
    module->set_module(key.first);
    module->set_category(CategoryName(key.second));
    module->set_bytes(share.bytes);
    module->set_tensors(share.tensors);
  }
}

}  // namespace

std::vector<MemoryPeak> FindPeaks(const Facts& facts, size_t limit) {
  const Timeline& t = *facts.timeline;
  const int64_t until = facts.oom ? facts.oom->time : kNever;
  std::vector<MemoryPeak> all;
  for (const Sample& sample : LocalMaxima(t.samples, until, std::max<int64_t>(1, facts.peak / kProminence)))
    all.push_back(PeakOf(facts, sample));
  if (facts.oom != nullptr && !all.empty()) {
    // Memory was still rising towards the death: that is one peak, not two.
    const Sample last = *std::prev(std::upper_bound(t.samples.begin(), t.samples.end(), until,
                                                    [](int64_t at, const Sample& s) { return at < s.time; }));
    if (all.back().bytes - last.tensors < facts.peak / kProminence) all.pop_back();
  }
  if (facts.oom != nullptr) all.push_back(Death(facts));
  std::map<std::tuple<PhaseKind, std::string, int64_t>, MemoryPeak> distinct;
  for (const MemoryPeak& peak : all) {
    const Frame site = SiteOf(t, peak.place);
    MemoryPeak& kept = distinct[{peak.phase, site.file, site.line}];
    const int64_t times = kept.times + 1;
    // Of those that are equal the one whose tensors are all on record.
    const bool tells_more = peak.bytes == kept.bytes && !TensorsAreWhole(t, kept.time) && TensorsAreWhole(t, peak.time);
    if (peak.bytes > kept.bytes || tells_more) kept = peak;
    kept.times = times;
  }
  std::vector<MemoryPeak> peaks;
  for (const auto& [key, peak] : distinct) peaks.push_back(peak);
  std::stable_sort(peaks.begin(), peaks.end(),
                   [](const MemoryPeak& a, const MemoryPeak& b) { return a.bytes > b.bytes; });
  if (peaks.size() > limit) peaks.resize(limit);
  return peaks;
}

void FillPeaks(const Facts& facts, report::Report& report) {
  const Timeline& t = *facts.timeline;
  // One more than is shown: the last has something behind it, too.
  std::vector<MemoryPeak> peaks = FindPeaks(facts, kPeaks + 1);
  for (size_t i = 0; i < std::min(peaks.size(), kPeaks); ++i) {
    const MemoryPeak& peak = peaks[i];
    report::HighPeak* out = report.add_peaks();
    out->set_bytes(peak.bytes);
    out->set_phase(PhaseName(peak.phase));
    out->set_step(peak.step);
    out->set_micro_batch(peak.micro_batch);
    out->set_time_ns(peak.time);
    out->set_site(ShortSite(SiteOf(t, peak.place)));
    out->set_times(peak.times);
    out->set_next(i + 1 < peaks.size() ? peaks[i + 1].bytes : 0);
    const std::vector<size_t> live = LiveTensors(t, t.device, peak.time);
    FillCategories(facts, peak, live, *out->mutable_categories());
    FillModules(t, live, *out);
  }
}

std::string ModuleOfAllLayers(const std::string& path) {
  const auto is_number = [](const std::string& part) {
    return !part.empty() && std::all_of(part.begin(), part.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  };
  std::vector<std::string> parts = absl::StrSplit(path, '.');
  if (std::all_of(parts.begin(), parts.end(), is_number)) return path;
  std::replace_if(parts.begin(), parts.end(), is_number, "*");
  return absl::StrJoin(parts, ".");
}

}  // namespace oomtrace
