// What every family of fixes starts from and adds to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analyzer/advise/batch_flags.h"
#include "analyzer/advise/predict.h"
#include "analyzer/diagnose/diagnose.h"

namespace oomtrace {

class Advisor {
 public:
  explicit Advisor(const Diagnosis& diagnosis);

  const Diagnosis& d() const { return d_; }
  const Facts& facts() const { return d_.facts; }
  const Timeline& t() const { return *d_.facts.timeline; }
  const Predictor& predictor() const { return predictor_; }
  const BatchFlags& flags() const { return flags_; }
  // Bytes in tensors and cache that the death asked for, its request included; 0 for a run that lived.
  int64_t killed_at() const { return killed_at_; }
  std::vector<report::Fix>& fixes() { return fixes_; }

  // Whether the report names the cause.
  bool Has(const char* cause) const;
  // Whether the allocator's model reproduced the run, as far as there was anything to compare: only then is it known
  // what other settings give.
  bool KnowsAllocator() const;
  // Whether a saving is large enough for an entry.
  bool Worth(int64_t saving) const;
  // Whether parameters, gradients and optimizer state alone need more than this process can have: then no batch helps.
  bool StatesExceedCard() const;
  // Whether it died while a model was put on the card that nothing shows to be trained.
  bool ParametersExceedCard() const;
  // The line that asked for what did not fit, in short.
  std::string Where() const;
  // Training as it is, with `saving` bytes less.
  Prediction Less(int64_t saving) const;
  // Training with a change: the recorded iteration less `saving` bytes, and where none speaks for the one that died,
  // its outline.
  Prediction Changed(const OutlineChange& change, int64_t saving) const;

  report::Fix& Add(const char* id, const std::string& title, const std::string& change, const Prediction& p,
                   const std::string& price, bool keeps_batch = true);

 private:
  const Diagnosis& d_;
  Predictor predictor_;
  BatchFlags flags_;
  int64_t killed_at_ = 0;
  std::vector<report::Fix> fixes_;
};

// Makes a fix that fits one that fits only under `condition` ("if ..."). One that does not fit, and "", stay.
void Conditional(report::Fix& fix, const std::string& condition);

// How a fix is set without an edit: `kind` is "environment", "flag", or "value" (what --vary names).
void AddSetting(report::Fix& fix, const char* kind, const std::string& name, const std::string& value,
                const std::string& separator = "");
void AddFlag(report::Fix& fix, const Flag& flag, int64_t value);

}  // namespace oomtrace
