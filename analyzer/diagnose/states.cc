#include "analyzer/diagnose/states.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "analyzer/diagnose/untrained.h"

namespace oomtrace {

bool IsParameterState(Category category) {
  return category == Category::kParameter || category == Category::kSecondCopy || category == Category::kGradient ||
         category == Category::kOptimizerState;
}

double StatePerParameterByte(const std::string& type, const std::string& options) {
  const std::string name = absl::AsciiStrToLower(type);
  if (absl::StrContains(name, "8bit")) return absl::StrContains(name, "adam") ? 0.5 : 0.25;
  if (absl::StrContains(name, "adafactor") || absl::StrContains(name, "sm3")) return 0.1;
  if (absl::StrContains(name, "adagrad") || absl::StrContains(name, "lion") || absl::StrContains(name, "muon") ||
      absl::StrContains(name, "rmsprop")) {
    return 1;
  }
  if (absl::StrContains(name, "sgd")) {
    const bool none = absl::StrContains(options, "momentum=0 ") || absl::StrContains(options, "momentum=0.0") ||
                      absl::EndsWith(options, "momentum=0");
    return none ? 0 : 1;
  }
  return 2;
}

bool StepsWithTemporaries(const std::string& type, const std::string& options) {
  if (absl::StrContains(options, "fused=True") || absl::StrContains(options, "foreach=False")) return false;
  const std::string name = absl::AsciiStrToLower(type);
  if (absl::StrContains(name, "8bit") || absl::StrContains(name, "paged")) return false;
  return absl::StrContains(name, "adam") || absl::StrContains(name, "adagrad") || absl::StrContains(name, "rmsprop") ||
         absl::StrContains(name, "adadelta");
}

States CompleteStates(const Facts& facts) {
  const Timeline& t = *facts.timeline;
  States states;
  int64_t live_gradients = 0, trainable = 0;
  for (const uint32_t i : facts.live) {
    const Tensor& tensor = t.tensors[i];
    if (tensor.category == Category::kParameter || tensor.category == Category::kSecondCopy) {
      states.parameters += tensor.bytes;
      trainable += tensor.category == Category::kParameter ? tensor.bytes : 0;
      states.largest_parameter = std::max(states.largest_parameter, tensor.bytes);
    } else if (tensor.category == Category::kGradient) {
      live_gradients += tensor.bytes;
    } else if (tensor.category == Category::kOptimizerState) {
      states.optimizer += tensor.bytes;
    }
  }
  const auto leaked = [&](Category category) { return facts.leaked[static_cast<int>(category)]; };
  states.parameters -= leaked(Category::kParameter) + leaked(Category::kSecondCopy);
  live_gradients -= leaked(Category::kGradient);
  states.optimizer -= leaked(Category::kOptimizerState);
  int64_t trained = 0;
  double state = 0;
  std::set<uint64_t> seen;
  for (const Optimizer& optimizer : t.optimizers) {
    if (!seen.insert(optimizer.identity).second) continue;
    trained += optimizer.parameter_bytes;
    state += StatePerParameterByte(optimizer.type, optimizer.options) * static_cast<double>(optimizer.parameter_bytes);
    states.optimizer_type = optimizer.type;
    if (StepsWithTemporaries(optimizer.type, optimizer.options))
      states.step_temporaries = std::max(states.step_temporaries, optimizer.parameter_bytes);
  }
  states.optimizer_known = !t.optimizers.empty();
  const bool forward = facts.oom ? facts.oom->phase == PhaseKind::kForward : false;
  states.run_only = !TrainingSeen(facts) && !forward && t.first_training_forward > facts.moment;
  if (!states.optimizer_known) {
    trained = states.parameters;
    state = 2.0 * static_cast<double>(trained);
    states.optimizer_type = "AdamW";
    states.step_temporaries = trained;
  }
  // Optimizers that train the same parameters, as one made anew for each epoch does, share the gradients.
  if (trainable > 0) trained = std::min(trained, trainable);
  const Untrained untrained = FindUntrained(facts);
  if (untrained.gets_gradients) trained += untrained.parameters;
  states.gradients = std::max(live_gradients, trained);
  // A step whose state was only half born (it died in the middle of the first one) counts as not reached.
  const bool reached = facts.steps > std::max<int64_t>(facts.state_step, 0);
  states.optimizer_seen = reached || states.optimizer >= static_cast<int64_t>(state * 0.95);
  if (!states.optimizer_seen) states.optimizer = std::max(states.optimizer, static_cast<int64_t>(state));
  return states;
}

}  // namespace oomtrace
