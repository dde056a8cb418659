#include "cli/fix_trials.h"

#include <set>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/invocation.h"
#include "cli/recorded_environment.h"

namespace oomtrace {
namespace {

// Puts the flag's value into the command, in the form that it has there; false where it is not there.
bool SetFlag(const report::FixSetting& flag, std::vector<std::string>& command) {
  for (size_t i = command.size(); i-- > 0;) {
    if (absl::StartsWith(command[i], flag.name() + "=")) {
      command[i] = absl::StrCat(flag.name(), "=", flag.value());
      return true;
    }
    if (command[i] == flag.name() && i + 1 < command.size()) {
      command[i + 1] = flag.value();
      return true;
    }
  }
  return false;
}

// An allocator's setting beside those that the job had: of one name the later wins. PyTorch reads one of several
// variables, so each that the job had gets it.
Variables WithSetting(const report::FixSetting& setting, const report::Trace& recorded) {
  Variables variables;
  for (const auto& [name, before] : RecordedVariables(recorded)) {
    if (absl::StartsWith(name, "PYTORCH_") && absl::EndsWith(name, "ALLOC_CONF"))
      variables.emplace_back(name, before.empty() ? setting.value() : absl::StrCat(before, ",", setting.value()));
  }
  if (variables.empty()) variables.emplace_back(setting.name(), setting.value());
  return variables;
}

// The settings of one fix by kind. The sizes that it changes come as places and, as far as the recorded command line
// has them, in the same order as flags.
struct Settings {
  std::vector<const report::FixSetting*> environment, flags, places;
};

Settings ByKind(const report::Fix& fix) {
  Settings settings;
  for (const report::FixSetting& setting : fix.settings()) {
    if (setting.kind() == "environment") settings.environment.push_back(&setting);
    if (setting.kind() == "flag") settings.flags.push_back(&setting);
    if (setting.kind() == "value") settings.places.push_back(&setting);
  }
  return settings;
}

// "--batch_size, {batch_size}": what a command must have for the first size of the fix.
std::string Wanted(const Settings& settings) {
  const std::string place = absl::StrCat("{", settings.places.front()->name(), "}");
  return settings.flags.empty() ? place : absl::StrCat(settings.flags.front()->name(), " and no ", place);
}

absl::Status CheckValues(const std::set<std::string>& names, const Values& values) {
  for (const auto& [name, value] : values) {
    if (names.contains(name)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--vary ", name, "=", value, ": the command has no {", name, "}",
                     names.empty() ? "" : absl::StrCat("; its places are {", absl::StrJoin(names, "}, {"), "}")));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FixTrials> PlanTrials(report::Report& report, const std::vector<std::string>& command,
                                     const Values& values, int most) {
  const std::set<std::string> names = NamesIn(command);
  if (absl::Status status = CheckValues(names, values); !status.ok()) return status;
  FixTrials all;
  for (report::Fix& fix : *report.mutable_fixes()) {
    const Settings settings = ByKind(fix);
    if (settings.environment.empty() && settings.places.empty()) continue;
    FixTrial trial{&fix, command, {}, {}};
    Values changed = values;
    for (size_t i = 0; i < settings.places.size(); ++i) {
      const report::FixSetting& place = *settings.places[i];
      const bool flag = i < settings.flags.size() && SetFlag(*settings.flags[i], trial.command);
      if (names.contains(place.name())) {
        changed[place.name()] = place.value();
      } else if (!flag) {
        trial.left_out.push_back(place.name());
      }
    }
    // A fix of the batch without its batch is another fix.
    if (!settings.places.empty() && !trial.left_out.empty() && trial.left_out[0] == settings.places[0]->name()) {
      fix.mutable_verification()->set_why(absl::StrCat("the command has no ", Wanted(settings)));
      all.skipped.push_back(&fix);
      continue;
    }
    if (static_cast<int>(all.trials.size()) == most) continue;
    for (const report::FixSetting* setting : settings.environment) {
      for (auto& variable : WithSetting(*setting, report.trace())) trial.environment.push_back(std::move(variable));
    }
    auto filled = Fill(trial.command, changed);
    if (!filled.ok()) return filled.status();
    trial.command = *std::move(filled);
    all.trials.push_back(std::move(trial));
  }
  return all;
}

}  // namespace oomtrace
