// The Process packet: who this process is, as far as memory is concerned. Environment variables are private: only those
// that change how memory is used are written.
#pragma once

#include <string_view>

#include "interpose/record/facts.h"

namespace oomtrace {

struct Versions {
  std::string_view python;
  std::string_view torch;
  std::string_view cuda;
};

// Reads /proc; no malloc. Written at the start without versions, and again, complete, once the interpreter has told
// them: the last packet counts.
void WriteProcess(Facts& facts, const Versions& versions);
// Whether an environment variable goes into the trace.
bool MattersForMemory(std::string_view variable);

}  // namespace oomtrace
