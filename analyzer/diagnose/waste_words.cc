#include "analyzer/diagnose/waste_words.h"

#include <algorithm>
#include <cctype>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "analyzer/diagnose/site.h"
#include "analyzer/diagnose/words.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

bool IsName(const std::string& text) {
  return !text.empty() && std::isdigit(static_cast<unsigned char>(text.front())) == 0 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
}

// Of what the search for holders writes, the name that a statement could use: "loss (local of train(), train.py:8)".
std::string VariableOf(const std::string& holder) {
  const std::string name = holder.substr(0, holder.find(" ("));
  return IsName(name) ? name : "";
}

std::string SiteText(const Frame& frame) { return frame.file.empty() ? "" : ShortSite(frame); }

std::string MadeAt(const Timeline& t, const Tensor& tensor) {
  return SiteText(SiteOf(t, PlaceOf(t, tensor.stack, tensor.forward_stack)));
}

// What says where a statement is when it is another file's: "" else.
std::string At(const char* word, const std::string& site) { return site.empty() ? "" : absl::StrCat(word, site); }

std::string Steps(const Facts& facts, const DeadWeight& found) {
  const Timeline& t = *facts.timeline;
  const size_t first = StepAt(t, found.window.begin) + 1;
  const size_t last = StepAt(t, found.window.end) + (found.steps > 0 ? 0 : 1);
  if (t.steps.empty()) return "in the window";
  return first >= last ? absl::StrCat("in step ", first) : absl::StrCat("in steps ", first, " to ", last);
}

std::string HolderOf(const Timeline& t, const WasteGroup& group) {
  for (const Wasted& waste : group.at_peak) {
    if (!t.tensors[waste.tensor].holder.empty()) return t.tensors[waste.tensor].holder;
  }
  // What the same statement made in another step bears the same name.
  for (const OtherLife& life : group.lives) {
    const Tensor& tensor = t.tensors[life.tensor];
    if (!tensor.holder.empty() && tensor.stack == t.tensors[group.at_peak.front().tensor].stack) return tensor.holder;
  }
  return "";
}

// "del x", where a name is known; what kind of change it is else.
std::string LetGo(const report::Waste& out) {
  const std::string variable = VariableOf(out.holder());
  if (!variable.empty()) return absl::StrCat("del ", variable);
  if (!out.holder().empty()) return absl::StrCat("let go of it in ", out.holder());
  return out.tensors() > 1 ? "let go of them (del)" : "let go of it (del)";
}

void Dead(const Wasted& waste, report::Waste& out) {
  const std::string after = SiteText(waste.after);
  out.set_change_site(after);
  out.set_finding(absl::StrCat("last used", At(" at ", out.last_use_site()), ", ",
                               waste.open ? "and alive when the window ended" : "and freed after the peak"));
  if (out.last_use_site().empty() && !out.first_use_site().empty() && out.kind() != CategoryName(Category::kGradient))
    out.set_finding(absl::StrCat("last used by the backward, which would let go of it then, but ",
                                 waste.open ? "alive when the window ended" : "freed after the peak"));
  if (out.kind() == CategoryName(Category::kGradient)) {
    out.set_change(absl::StrCat("call zero_grad() right after the optimizer's step", At(", at ", after),
                                ": the gradients of the step before lie idle until it is called"));
  } else {
    out.set_change(absl::StrCat(LetGo(out), At(" after ", after)));
  }
}

void TooEarly(const Wasted& waste, report::Waste& out) {
  const std::string before = SiteText(waste.after);
  out.set_change_site(before);
  const char* later = waste.open ? "the window ended" : "later";
  out.set_finding(absl::StrCat("not needed before ", before.empty() ? later : before));
  out.set_change(absl::StrCat("make it right before ", before.empty() ? "its first use" : before));
}

void NotRead(const Facts& facts, const DeadWeight& found, const Wasted& waste, report::Waste& out) {
  out.set_change_site(out.site());
  const std::string when = facts.oom != nullptr && facts.oom->time == found.window.end
                               ? " before memory ran out"
                               : absl::StrCat(" ", Steps(facts, found));
  const bool unused = waste.kind == WasteKind::kUnused;
  const auto access = facts.timeline->gpu_time.accesses.find(waste.tensor);
  const int64_t reads = access != facts.timeline->gpu_time.accesses.end() ? access->second.reads : 0;
  out.set_finding(unused ? absl::StrCat("not used", when)
                         : absl::StrCat("written", At(", last at ", out.last_use_site()), ", and not read",
                                        waste.open ? when : " until it was freed"));
  if (out.kind() == CategoryName(Category::kGradient)) {
    if (reads > 0) out.set_finding(absl::StrCat("only added to by each backward, and not used", when));
    out.set_change(absl::StrCat("switch it off by requires_grad_(False): nothing uses these gradients",
                                waste.open ? when : "",
                                reads > 0 ? "; what it takes to compute them is saved, too" : ""));
    return;
  }
  out.set_change(waste.open ? absl::StrCat("do not make it", At(" at ", out.site()),
                                           ", or, if something reads it later, not before that")
                            : absl::StrCat("do not make it", At(" at ", out.site())));
}

void Duplicate(const Timeline& t, const Wasted& waste, report::Waste& out) {
  const std::string original = MadeAt(t, t.tensors[static_cast<size_t>(waste.original)]);
  out.set_original_site(original);
  out.set_change_site(out.site());
  out.set_finding(absl::StrCat("a copy of what was made", At(" at ", original), "; neither was changed ",
                               waste.open ? "until the window ended" : "while both lived"));
  out.set_change(absl::StrCat("use the original", At(", made at ", original), ", instead of the copy"));
}

}  // namespace

std::string Milliseconds(int64_t ns) { return absl::StrFormat("%.1f ms", static_cast<double>(ns) / 1e6); }

void DescribeWaste(const Facts& facts, const DeadWeight& found, const WasteGroup& group, report::Waste& out) {
  const Timeline& t = *facts.timeline;
  const Wasted& waste = group.at_peak.front();
  const Tensor& tensor = t.tensors[waste.tensor];
  for (const Wasted& one : group.at_peak) out.set_bytes(out.bytes() + t.tensors[one.tensor].bytes);
  out.set_category(WasteName(waste.kind));
  out.set_tensors(static_cast<int64_t>(group.at_peak.size()));
  out.mutable_shape()->Assign(t.layouts[tensor.layout].shape.begin(), t.layouts[tensor.layout].shape.end());
  out.set_dtype(t.layouts[tensor.layout].dtype);
  out.set_kind(CategoryName(tensor.category));
  out.set_site(MadeAt(t, tensor));
  const std::string& name = tensor.name.str();
  out.set_name(!name.empty() ? name : !tensor.module.empty() ? tensor.module.str() : out.site());
  out.set_holder(HolderOf(t, group));
  out.set_open(waste.open);
  if (const auto access = t.gpu_time.accesses.find(waste.tensor); access != t.gpu_time.accesses.end()) {
    out.set_last_use_site(SiteText(SiteOf(t, access->second.last_stack)));
    if (access->second.needed != kNever) out.set_first_use_site(SiteText(SiteOf(t, access->second.needed_stack)));
  }
  if (const auto use = t.gpu_time.uses.find(waste.tensor); use != t.gpu_time.uses.end())
    out.set_last_kernel(use->second.last_kernel);
  switch (waste.kind) {
    case WasteKind::kDead:
      return Dead(waste, out);
    case WasteKind::kTooEarly:
      return TooEarly(waste, out);
    case WasteKind::kNeverRead:
    case WasteKind::kUnused:
      return NotRead(facts, found, waste, out);
    case WasteKind::kDuplicate:
      return Duplicate(t, waste, out);
  }
}

}  // namespace oomtrace
