// A timeline's verdict: every field of the report except the fixes.
#pragma once

#include "analyzer/diagnose/dead_weight.h"
#include "analyzer/diagnose/facts.h"
#include "analyzer/diagnose/kept_outputs.h"
#include "analyzer/diagnose/kv_growth.h"
#include "analyzer/diagnose/leak.h"
#include "analyzer/diagnose/outside.h"
#include "analyzer/diagnose/pattern.h"
#include "analyzer/diagnose/private_pools.h"
#include "analyzer/read/trace_reader.h"
#include "analyzer/replay/fidelity.h"

namespace oomtrace {

// What the advice starts from. Points into the timeline.
struct Diagnosis {
  Facts facts;
  Leak leak;
  KeptOutputs kept;
  KvGrowth kv;  // of what is not kept
  Pattern pattern;
  OutsideGrowth outside;
  PrivatePools pools;
  Fidelity fidelity;  // of == 0 where the model does not apply
  DeadWeight dead_weight;
  report::Report report;
};

// `reader`: of the timeline's trace, for what a long one has no records of (fidelity.h); may be null.
Diagnosis Diagnose(const Timeline& timeline, TraceReader* reader = nullptr, const Progress& progress = {});

}  // namespace oomtrace
