// What this machine offers for recording and simulating, as text.
#pragma once

#include <string>

namespace oomtrace {

struct MachineReport {
  std::string text;         // several lines, each ended
  bool can_record = false;  // the recorder is there and loads into this machine's Python
};

// Of Python: the interpreter of `command`; the one in PATH where there is no command; none where it is no Python.
MachineReport ReportMachine(const std::string& command);

// Whether there is an NVIDIA driver to talk to.
bool HasDriver();

}  // namespace oomtrace
