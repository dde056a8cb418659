// Where the trace goes and what it is called.
//
//   $OOMTRACE_FILE set: that path; where it exists already (a second process, an earlier run), <stem>.<pid>.oomtrace
//   otherwise: $OOMTRACE_DIR, else the working directory, and <program>.<host>.<pid>.<unix time>.oomtrace, where
//   <program> is the Python script or module that runs, else the executable.
#pragma once

#include <cstdint>

#include "interpose/record/text.h"

namespace oomtrace {

using TracePath = Text<4096>;
using ProgramName = Text<128>;

inline constexpr int kPathAttempts = 4;

// The path to try at this attempt (0 first; a later one when the path before it existed). Absolute.
void ComposeTracePath(int attempt, TracePath* path);

// `command_line` is /proc/self/cmdline: arguments, each ended by a zero byte.
void ProgramFromCommandLine(const char* command_line, size_t size, ProgramName* name);

// Reads a file of /proc, cut at the capacity; 0 where it cannot be read. No malloc.
size_t ReadFile(const char* path, char* buffer, size_t capacity);

}  // namespace oomtrace
