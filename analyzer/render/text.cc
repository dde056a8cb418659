#include "analyzer/render/text.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/render/page.h"

namespace oomtrace {
namespace {

// What keeps the report on one screen.
constexpr int kOwnersShown = 2;
constexpr int kFixesShown = 4;
constexpr int kDormantShown = 4;
constexpr int kWasteShown = 4;
constexpr int kEvidenceShown = 4;
constexpr int kUnknownShown = 2;
constexpr size_t kPartsShown = 3;
constexpr int64_t kPartShown = 50;    // of a peak's bytes, below which a category is not worth a word
constexpr double kOwnerShare = 0.02;  // of the card, below which an owner is not worth a line
constexpr double kTight = 0.03;       // of the card: less headroom than this is called tight

std::string Plain(const std::string& name) { return absl::StrReplaceAll(name, {{"_", " "}}); }

std::vector<int64_t> ToVector(const google::protobuf::RepeatedField<int64_t>& field) {
  return {field.begin(), field.end()};
}

// Names are the application's own: a line break, a tab or an escape sequence in one is shown, not obeyed.
void EscapeControls(std::string* text) {
  const auto control = [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); };
  if (std::none_of(text->begin(), text->end(), control)) return;
  std::string shown;
  for (const char c : *text) {
    if (control(c)) {
      absl::StrAppend(&shown, absl::CEscape(absl::string_view(&c, 1)));
    } else {
      shown += c;
    }
  }
  *text = std::move(shown);
}

void EscapeControls(google::protobuf::Message* message) {
  const google::protobuf::Reflection& reflection = *message->GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection.ListFields(*message, &fields);
  for (const google::protobuf::FieldDescriptor* field : fields) {
    const bool text = field->type() == google::protobuf::FieldDescriptor::TYPE_STRING;
    const bool nested = field->type() == google::protobuf::FieldDescriptor::TYPE_MESSAGE;
    const int count = field->is_repeated() ? reflection.FieldSize(*message, field) : 0;
    for (int i = 0; i < count && (text || nested); ++i) {
      if (nested) {
        EscapeControls(reflection.MutableRepeatedMessage(message, field, i));
      } else {
        std::string value = reflection.GetRepeatedString(*message, field, i);
        EscapeControls(&value);
        reflection.SetRepeatedString(message, field, i, std::move(value));
      }
    }
    if (field->is_repeated() || (!text && !nested)) continue;
    if (nested) {
      EscapeControls(reflection.MutableMessage(message, field));
    } else {
      std::string value = reflection.GetString(*message, field);
      EscapeControls(&value);
      reflection.SetString(message, field, std::move(value));
    }
  }
}

class Text {
 public:
  Text(report::Report report, const TextOptions& options) : r_(std::move(report)), page_(options.color, options.width) {
    EscapeControls(&r_);
  }

  std::string Render() {
    Losses();
    What();
    Why();
    Who();
    GpuTime();
    DeadWeight();
    Change();
    Unknown();
    return page_.text();
  }

 private:
  void Losses() {
    std::vector<std::string> losses;
    const report::Trace& trace = r_.trace();
    if (trace.dropped() > 0) losses.push_back(absl::StrCat(Count(trace.dropped(), "event"), " dropped"));
    if (trace.recycled_chunks() > 0)
      losses.push_back(absl::StrCat(Count(trace.recycled_chunks(), "chunk"), " overwritten"));
    for (int i = 0; i < std::min(3, trace.damage_size()); ++i) losses.push_back(trace.damage(i));
    if (losses.empty()) return;
    page_.Paragraph(page_.Bad("Incomplete trace: "),
                    absl::StrCat(absl::StrJoin(losses, "; "), ". Numbers below may be too low."));
    page_.Blank();
  }

  void What() {
    if (!r_.out_of_memory().happened()) {
      page_.Heading(r_.summary());
    } else {
      page_.Alert(r_.summary());
      const report::Culprit& culprit = r_.culprit();
      if (!culprit.file().empty()) {
        page_.Paragraph(
            "  ", absl::StrCat(WithoutTorch() && culprit.line() == 0 ? "In "
                               : r_.pattern() == "gradual_leak"      ? "What leaks was made at "
                                                                     : "At ",
                               culprit.file(), culprit.line() > 0 ? absl::StrCat(":", culprit.line()) : "",
                               culprit.function().empty() ? "" : absl::StrCat(" in ", culprit.function()),
                               culprit.module().empty() ? "" : absl::StrCat(", module ", culprit.module()), Leaking()));
      }
    }
    const auto& ranges = r_.out_of_memory().ranges();
    if (!ranges.empty())
      page_.Paragraph("  ", absl::StrCat(ranges.size() == 1 ? "In the NVTX range " : "In the NVTX ranges ",
                                         absl::StrJoin(ranges, " > "), "."));
    const report::DeviceTable& device = r_.device();
    page_.Paragraph("  ", absl::StrCat("GPU ", device.index(), device.name().empty() ? "" : ", " + device.name(), ", ",
                                       Bytes(device.total()), "; ", WithoutTorch() ? "" : Steps(), r_.trace().ended(),
                                       r_.trace().simulated() && !absl::StartsWith(device.name(), "Simulated")
                                           ? "; on the simulated GPU"
                                           : "",
                                       "."));
    page_.Blank();
  }

  std::string Steps() const {
    return absl::StrCat(Count(r_.steps_completed(), r_.step_noun()), " completed",
                        r_.step_noun() == "backward pass" ? " (no optimizer stepped); " : "; ");
  }

  // A program without PyTorch: no tensors, no steps.
  bool WithoutTorch() const {
    const report::DeviceTable& device = r_.device();
    return r_.trace().torch_version().empty() && device.tensors() == 0 && device.cache() == 0;
  }

  std::string Leaking() const {
    if (r_.pattern() != "gradual_leak") return ".";
    const report::Culprit& culprit = r_.culprit();
    const std::string what =
        culprit.dtype().empty() ? Bytes(culprit.bytes()) : Shape(ToVector(culprit.shape()), culprit.dtype());
    return absl::StrCat(": ", what, culprit.holder().empty() ? "" : absl::StrCat(", kept by ", culprit.holder()), ".");
  }

  void Why() {
    page_.Heading(r_.confidence() == 0 ? std::string("Why: not known")
                                       : absl::StrCat("Why: ", Plain(r_.pattern()),
                                                      absl::StrFormat(" (%.0f %% sure)", r_.confidence() * 100)));
    for (int i = 0; i < r_.evidence_size(); ++i) {
      const bool fidelity = i + 1 == r_.evidence_size();
      if (i < kEvidenceShown || fidelity || WithoutTorch()) page_.Paragraph("  - ", r_.evidence(i));
    }
    std::vector<std::string> causes;
    for (const report::Cause& cause : r_.causes()) {
      const bool strong = 2 * cause.confidence() > r_.causes(0).confidence();
      if (causes.size() < 3 && strong)
        causes.push_back(absl::StrFormat("%s (%.0f %%)", cause.title(), cause.confidence() * 100));
    }
    if (!causes.empty()) page_.Paragraph("  Causes: ", absl::StrJoin(causes, "; "));
    const report::Leak& leak = r_.leak();
    if (leak.bytes_per_step() > 0 && leak.steps_to_oom() > 0) {
      const std::string what =
          leak.dtype().empty() ? Bytes(r_.culprit().bytes()) : Shape(ToVector(leak.shape()), leak.dtype());
      page_.Paragraph("  ", absl::StrCat("What grows: ", what, " made at ", leak.site(),
                                         leak.holder().empty() ? "" : absl::StrCat(", kept by ", leak.holder()), "."));
      page_.Paragraph("  ", page_.Bad(absl::StrCat("At this rate it runs out of memory after ",
                                                   Count(leak.steps_to_oom(), "more step"), ".")));
    }
    page_.Blank();
  }

  void Row(int depth, const std::string& name, int64_t bytes) {
    const double share =
        r_.device().total() > 0 ? 100.0 * static_cast<double>(bytes) / static_cast<double>(r_.device().total()) : 0;
    page_.Line(absl::StrFormat("%-46s %12s %18s %6.1f %%", std::string(static_cast<size_t>(depth) * 2 + 2, ' ') + name,
                               Bytes(bytes), Grouped(bytes), share));
  }

  static std::string Grouped(int64_t bytes) {
    std::string digits = absl::StrCat(bytes);
    for (int at = static_cast<int>(digits.size()) - 3; at > (bytes < 0 ? 1 : 0); at -= 3)
      digits.insert(static_cast<size_t>(at), 1, ',');
    return digits;
  }

  void Owners(const std::string& category, int64_t category_bytes) {
    int shown = 0;
    int64_t rest = category_bytes;
    for (const report::Owner& owner : r_.owners()) {
      if (owner.category() != category || shown == kOwnersShown) continue;
      if (static_cast<double>(owner.bytes()) < kOwnerShare * static_cast<double>(r_.device().total())) continue;
      // A category with one owner would say the same twice.
      if (owner.bytes() == category_bytes && owner.name().empty()) continue;
      const bool placed = !owner.site().empty() && owner.site() != owner.name();
      const std::string place = placed && category != "other" ? " at " + owner.site() : "";
      const std::string count = owner.tensors() > 1 ? absl::StrCat(owner.tensors(), " x ") : "";
      std::string what = category == "other" && placed ? owner.site() : owner.name();
      // The place stays whole, and of a module's path its end, which says most.
      constexpr size_t kWidest = 40, kShortest = 12;
      const size_t taken = count.size() + place.size();
      const size_t room = std::max(kShortest, taken < kWidest ? kWidest - taken : 0);
      if (what.size() > room) what = absl::StrCat("..", what.substr(what.size() + 2 - room));
      const std::string name = absl::StrCat(count, what, place);
      Row(2, name, owner.bytes());
      rest -= owner.bytes();
      ++shown;
    }
    if (category == "other" && WithoutTorch() && shown > 0 && rest > 0) Row(2, "from other places", rest);
  }

  void Who() {
    const report::DeviceTable& d = r_.device();
    page_.Heading(r_.out_of_memory().happened() ? "Who holds the device" : "Who held the device at the peak");
    if (!WithoutTorch()) Row(0, "tensors", d.tensors());
    const google::protobuf::Descriptor* type = report::Categories::descriptor();
    for (int i = 0; i < type->field_count(); ++i) {
      const int64_t bytes = report::Categories::GetReflection()->GetInt64(r_.categories(), type->field(i));
      if (bytes == 0) continue;
      Row(1, Plain(type->field(i)->name()), bytes);
      if (type->field(i)->name() != "parameter" && type->field(i)->name() != "gradient" &&
          type->field(i)->name() != "optimizer_state") {
        Owners(type->field(i)->name(), bytes);
      }
    }
    Cache();
    if (d.other() > 0) Row(0, WithoutTorch() ? "this process" : "other allocations of this process", d.other());
    Owners("other", d.other());
    Row(0, "CUDA context and libraries", d.context());
    if (d.other_processes() > 0) Row(0, "other processes", d.other_processes());
    for (int i = 0; i < std::min(3, r_.processes_size()); ++i) {
      const report::Process& process = r_.processes(i);
      Row(1,
          process.name().empty() ? absl::StrCat("process ", process.pid())
                                 : absl::StrCat(process.name(), " (pid ", process.pid(), ")"),
          process.bytes());
    }
    Row(0, "free", d.free());
    Row(0, "total", d.total());
    PeakBehind();
    page_.Blank();
  }

  // An allocator other than PyTorch's own caches nothing, or what it holds beyond its tensors is its own affair.
  void Cache() {
    const report::DeviceTable& d = r_.device();
    const bool native = r_.allocator() == "native";
    if (WithoutTorch() || (!native && d.cache() == 0)) return;
    Row(0, native ? "PyTorch's cache (reserved, unallocated)" : "held by its allocator, not handed out", d.cache());
    if (d.private_pools() > 0) Row(1, "of it in private pools", d.private_pools());
  }

  // The largest categories of a peak, without those of which there is little.
  static std::string Parts(const report::HighPeak& peak) {
    std::vector<std::pair<int64_t, std::string>> parts;
    const google::protobuf::Descriptor* type = report::Categories::descriptor();
    for (int i = 0; i < type->field_count(); ++i) {
      const int64_t bytes = report::Categories::GetReflection()->GetInt64(peak.categories(), type->field(i));
      if (kPartShown * bytes > peak.bytes()) parts.emplace_back(bytes, Plain(type->field(i)->name()));
    }
    std::stable_sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    if (parts.size() > kPartsShown) parts.resize(kPartsShown);
    return absl::StrJoin(parts, ", ", [](std::string* out, const auto& part) {
      absl::StrAppend(out, part.second, " ", Bytes(part.first));
    });
  }

  // No more than the difference can be saved by what is done about the highest peak alone.
  void PeakBehind() {
    if (r_.peaks_size() < 2) return;
    const report::HighPeak& peak = r_.peaks(1);
    const std::string times = peak.times() > 1 ? absl::StrCat(", ", peak.times(), " times") : "";
    page_.Paragraph("  Next peak: ",
                    absl::StrCat(Bytes(peak.bytes()), " in ", Plain(peak.phase()),
                                 peak.site().empty() ? "" : " at " + peak.site(), times, ": ", Parts(peak), "."));
  }

  // "12.3 ms", of the trace's own clock.
  static std::string Moment(int64_t ns) { return absl::StrFormat("%.1f ms", static_cast<double>(ns) / 1e6); }

  static std::string Life(const report::TensorTime& tensor) {
    std::string text = Bytes(tensor.bytes());
    if (!tensor.dtype().empty()) absl::StrAppend(&text, " ", Shape(ToVector(tensor.shape()), tensor.dtype()));
    if (!tensor.name().empty()) absl::StrAppend(&text, ", ", tensor.name());
    absl::StrAppend(&text, ": allocated ", Moment(tensor.allocated_ns()), ", used ", Moment(tensor.first_use_ns()),
                    " to ", Moment(tensor.last_use_ns()), ", last in ",
                    absl::StrReplaceAll(tensor.last_phase(), {{"_", " "}}));
    if (!tensor.last_site().empty()) absl::StrAppend(&text, " at ", tensor.last_site());
    const std::string unused = absl::StrCat("; unused for ", Moment(tensor.unused_ns()));
    return absl::StrCat(text, unused, tensor.idle() ? " until it was freed" : "");
  }

  void GpuTime() {
    const report::GpuTime& gpu = r_.gpu_time();
    if (gpu.state().empty()) return;
    page_.Heading("GPU time");
    page_.Paragraph("  ", gpu.state());
    if (!gpu.finding().empty()) page_.Paragraph("  ", gpu.finding());
    for (int i = 0; i < std::min(gpu.dormant_size(), kDormantShown); ++i) page_.Paragraph("  - ", Life(gpu.dormant(i)));
    if (!gpu.audit().empty()) page_.Paragraph("  ", gpu.audit());
    for (const report::UnseenMemory& unseen : gpu.unseen()) {
      page_.Paragraph("  - ", absl::StrCat(Bytes(unseen.bytes()), " in ", Count(unseen.allocations(), "allocation"),
                                           unseen.library().empty() ? "" : " by " + unseen.library()));
    }
    for (const std::string& note : gpu.notes()) page_.Paragraph("  ", note);
    page_.Blank();
  }

  static std::string Line(const report::Waste& item) {
    std::string text = absl::StrCat(Bytes(item.saving()), " less at the peak: ");
    if (item.tensors() > 1) absl::StrAppend(&text, item.tensors(), " tensors, ", Bytes(item.bytes()), ", the largest ");
    absl::StrAppend(&text, Shape(ToVector(item.shape()), item.dtype()));
    if (!item.holder().empty()) absl::StrAppend(&text, ", ", item.holder());
    absl::StrAppend(&text, item.name() == item.site() ? "" : absl::StrCat(", ", item.name()));
    if (!item.site().empty()) absl::StrAppend(&text, ", made at ", item.site());
    return absl::StrCat(text, ": ", item.finding(), ". Change: ", item.change(), ".");
  }

  void DeadWeight() {
    const report::DeadWeight& dead = r_.dead_weight();
    if (!dead.judged()) return;
    page_.Heading("Dead weight");
    const std::string peak =
        absl::StrCat(Bytes(dead.peak()), ", ", Plain(dead.peak_phase()), ", step ", dead.peak_step() + 1);
    if (dead.items().empty()) {
      page_.Paragraph("  ", absl::StrCat("Nothing is known to lie idle at the window's peak (", peak, ")."));
    } else {
      page_.Paragraph("  ", absl::StrCat("At the window's peak (", peak,
                                         ") without need, and what the peak loses without it, by replay:"));
    }
    if (dead.steps() < r_.steps_completed()) {
      page_.Paragraph("  ", absl::StrCat("The window holds ", dead.steps(), " of ", Count(r_.steps_completed(), "step"),
                                         ": what the others use is not known."));
    }
    for (int i = 0; i < std::min(dead.items_size(), kWasteShown); ++i)
      page_.Paragraph(absl::StrCat("  ", i + 1, ". "), Line(dead.items(i)));
    if (dead.items_size() > 1)
      page_.Paragraph("  ",
                      absl::StrCat("Without all ", dead.items_size(), " the peak is ", Bytes(dead.without_all()), "."));
    for (const std::string& note : dead.notes()) page_.Paragraph("  ", note);
    page_.Blank();
  }

  std::string Verdict(const report::Fix& fix) const {
    if (!fix.condition().empty()) return absl::StrCat("may fit: ", fix.condition());
    if (!fix.fits()) return page_.Bad(absl::StrCat("does not fit alone: ", Bytes(-fix.headroom()), " too much"));
    const bool tight = static_cast<double>(fix.headroom()) < kTight * static_cast<double>(r_.device().total());
    return page_.Good(absl::StrCat(tight ? "fits, tight: " : "fits: ", Bytes(fix.headroom()), " to spare"));
  }

  void Change() {
    if (r_.fixes_size() == 0 && r_.no_fix().empty()) return;
    page_.Heading("What to change");
    if (!r_.no_fix().empty()) page_.Paragraph("  ", absl::StrCat("No change is known that would do: ", r_.no_fix()));
    // Where something helps by itself, what does not is one line.
    const bool one_fits = std::any_of(r_.fixes().begin(), r_.fixes().end(), [](const auto& fix) { return fix.fits(); });
    std::vector<std::string> not_enough;
    int shown = 0;
    for (const report::Fix& fix : r_.fixes()) {
      if (one_fits && !fix.fits() && fix.condition().empty()) {
        not_enough.push_back(absl::StrCat(fix.title(), " (", Bytes(-fix.headroom()), " too much)"));
        continue;
      }
      if (shown == kFixesShown) continue;
      page_.Paragraph(absl::StrCat("  ", ++shown, ". "), absl::StrCat(fix.title(), ": ", fix.change()));
      std::string numbers = absl::StrCat(Verdict(fix));
      if (fix.predicted_peak() > 0) absl::StrAppend(&numbers, "; peak ", Bytes(fix.predicted_peak()));
      if (fix.saving() > 0) absl::StrAppend(&numbers, ", saves ", Bytes(fix.saving()));
      absl::StrAppend(&numbers, " (", fix.basis(), ")", fix.price().empty() ? "" : ". Price: " + fix.price());
      page_.Paragraph("     ", numbers);
    }
    if (!not_enough.empty())
      page_.Paragraph("  Not enough alone: ", absl::StrCat(absl::StrJoin(not_enough, "; "), "."));
    page_.Blank();
  }

  void Unknown() {
    page_.Heading("What is not known");
    if (r_.unknown_size() == 0) page_.Paragraph("  - ", "Nothing that this report would need.");
    for (int i = 0; i < std::min(kUnknownShown, r_.unknown_size()); ++i) page_.Paragraph("  - ", r_.unknown(i));
  }

  report::Report r_;
  Page page_;
};

}  // namespace

std::string RenderText(const report::Report& report, const TextOptions& options) {
  return Text(report, options).Render();
}

}  // namespace oomtrace
