#include "analyzer/advise/advisor.h"

#include <algorithm>
#include <utility>

#include "analyzer/diagnose/culprit.h"
#include "analyzer/diagnose/site.h"

namespace oomtrace {
namespace {

// Below this share of the card a saving is not worth an entry.
constexpr double kWorthSaving = 0.02;

}  // namespace

Advisor::Advisor(const Diagnosis& diagnosis)
    : d_(diagnosis), predictor_(diagnosis), flags_(FindBatchFlags(t().process.arguments)) {
  killed_at_ = facts().oom ? facts().device.tensors() + facts().device.cache() + facts().requested : 0;
}

bool Advisor::Has(const char* cause) const {
  return std::any_of(d_.report.causes().begin(), d_.report.causes().end(),
                     [&](const report::Cause& c) { return c.id() == cause; });
}

bool Advisor::KnowsAllocator() const {
  return UsesCachingAllocator(t()) && (d_.fidelity.of == 0 || d_.fidelity.StreamHolds());
}

bool Advisor::Worth(int64_t saving) const {
  return static_cast<double>(saving) > kWorthSaving * static_cast<double>(facts().device.total());
}

bool Advisor::StatesExceedCard() const {
  return facts().oom != nullptr && predictor_.states().total() > predictor_.capacity();
}

bool Advisor::ParametersExceedCard() const {
  const States& states = predictor_.states();
  return facts().oom && states.run_only && facts().oom->phase == PhaseKind::kSetUp &&
         10 * states.parameters >= 9 * facts().need();
}

std::string Advisor::Where() const { return ShortSite(RefusalSite(facts())); }

Prediction Advisor::Changed(const OutlineChange& change, int64_t saving) const {
  return predictor_.replayable() ? Less(saving) : predictor_.Changed(change);
}

Prediction Advisor::Less(int64_t saving) const {
  Prediction p = predictor_.Training(std::max<int64_t>(predictor_.batch().size, 1), predictor_.expandable_recorded());
  p.basis = "estimated";
  p.reserved = std::max<int64_t>(0, p.reserved - saving);
  p.headroom = predictor_.capacity() - p.reserved;
  p.fits = p.headroom >= 0;
  return p;
}

report::Fix& Advisor::Add(const char* id, const std::string& title, const std::string& change, const Prediction& p,
                          const std::string& price, bool keeps_batch) {
  report::Fix fix;
  fix.set_id(id);
  fix.set_title(title);
  fix.set_change(change);
  fix.set_predicted_peak(p.reserved);
  fix.set_saving(std::max<int64_t>(0, killed_at_ - p.reserved));
  fix.set_keeps_effective_batch(keeps_batch);
  fix.set_basis(p.basis);
  fix.set_price(price);
  fix.set_fits(p.fits);
  fix.set_headroom(p.headroom);
  fixes_.push_back(std::move(fix));
  return fixes_.back();
}

void Conditional(report::Fix& fix, const std::string& condition) {
  if (!fix.fits() || condition.empty()) return;
  fix.set_fits(false);
  fix.set_condition(condition);
}

void AddSetting(report::Fix& fix, const char* kind, const std::string& name, const std::string& value,
                const std::string& separator) {
  report::FixSetting* setting = fix.add_settings();
  setting->set_kind(kind);
  setting->set_name(name);
  setting->set_value(value);
  setting->set_separator(separator);
}

void AddFlag(report::Fix& fix, const Flag& flag, int64_t value) {
  AddSetting(fix, "flag", flag.name, absl::StrCat(value), flag.separator);
}

}  // namespace oomtrace
