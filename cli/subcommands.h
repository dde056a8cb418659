// The subcommands: each registers its options with CLI11 and, when it was chosen, does its work after parsing and
// leaves its exit status in the Invocation. Each lives in the file that has its name.
#pragma once

#include "CLI/CLI.hpp"
#include "cli/invocation.h"

namespace oomtrace {

void AddRun(CLI::App& app, Invocation& invocation);
void AddDryrun(CLI::App& app, Invocation& invocation);
void AddAnalyze(CLI::App& app, Invocation& invocation);
void AddVerify(CLI::App& app, Invocation& invocation);
void AddExplain(CLI::App& app, Invocation& invocation);
void AddDoctor(CLI::App& app, Invocation& invocation);
void AddGpus(CLI::App& app, Invocation& invocation);
void AddFit(CLI::App& app, Invocation& invocation);
void AddPlan(CLI::App& app, Invocation& invocation);

}  // namespace oomtrace
