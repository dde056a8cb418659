// What `run`, `dryrun` and `doctor -- CMD` share: start a command with libraries preloaded, then say what it left.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cli/environment.h"
#include "cli/invocation.h"

namespace oomtrace {

struct RecordedRun {
  Environment environment = Environment::Inherited();
  std::vector<std::string> libraries;  // to preload, in order
  std::string output;                  // -o, "" for the recorder's own choice of name
  std::string timeline;                // optimizer steps of a GPU timeline, "": none
  bool record = true;
  bool announce = true;    // say where the trace is, or why there is none
  bool simulated = false;  // on a simulated GPU
};

// Which of the user's own variables may be why a command left no trace, as the end of a sentence; "": none.
std::string NotRecordedBecause(const Environment& environment);

// Sets what the command needs to be recorded into `output` ("": where the recorder chooses): the libraries, and the
// variables that the recorder reads. Returns the job's word (trace_end.h).
std::string Equip(RecordedRun& run, const std::filesystem::path& output);

// Complains and sets the exit status where the command is missing: no "--", or nothing after it.
bool HasCommand(const std::string& subcommand, const std::vector<std::string>& extras, Invocation& invocation);

// Runs invocation.command and leaves its status, or signal, in `invocation`. Afterwards tells on stderr where the
// trace is if the job died and the recorder had no chance to say so, and why there is no trace where PyTorch is not
// what it should be.
void RunRecorded(RecordedRun run, Invocation& invocation);

}  // namespace oomtrace
