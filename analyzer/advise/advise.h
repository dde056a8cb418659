// What to change, ranked: the smallest change that fits first. Only changes that save something in this trace.
#pragma once

#include "analyzer/diagnose/diagnose.h"

namespace oomtrace {

// Adds the fixes to `diagnosis.report`.
void Advise(Diagnosis& diagnosis);

}  // namespace oomtrace
