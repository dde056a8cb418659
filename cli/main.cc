// oomtrace: why a PyTorch job ran out of CUDA memory.
#include <algorithm>
#include <exception>

#include "cli/invocation.h"
#include "cli/launch.h"
#include "cli/subcommands.h"

namespace {

constexpr char kDescription[] = "oomtrace says why a PyTorch job ran out of CUDA memory, and what to change.";

constexpr char kFooter[] = R"(Examples:
  oomtrace run -- python train.py              record a job on this machine's GPU
  oomtrace analyze                             read the newest trace: verdict, evidence, fixes
  oomtrace dryrun --gpu rtx4070 -- python train.py
                                               the same without a GPU: a simulated card under the real PyTorch

Exit status:
  analyze, doctor, gpus: 0 healthy, 3 an out-of-memory was diagnosed, 1 usage or input error, 2 a trace is damaged
  beyond use. run, dryrun: the command's own status, or its signal; 127 command not found, 126 not executable,
  1 wrong arguments.

`oomtrace COMMAND --help` says more.)";

int Parse(CLI::App& app, oomtrace::Invocation& invocation) {
  std::vector<std::string> arguments = invocation.arguments;
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them last first
  try {
    app.parse(arguments);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForVersion& version) {
    return app.exit(version);
  } catch (const CLI::ParseError& error) {
    const auto chosen = app.get_subcommands();
    const std::string name = chosen.empty() ? "oomtrace" : "oomtrace " + chosen.front()->get_name();
    oomtrace::PrintError(error.what(), "`" + name + " --help` shows what is possible");
    return oomtrace::kExitUsage;
  }
  return invocation.exit_status;
}

}  // namespace

int main(int argc, char** argv) {
  oomtrace::Invocation invocation = oomtrace::SplitAtSeparator(argc, argv);
  CLI::App app(kDescription, "oomtrace");
  app.footer(kFooter);
  app.set_version_flag("--version", "oomtrace " OOMTRACE_VERSION);
  app.require_subcommand(1);
  oomtrace::AddRun(app, invocation);
  oomtrace::AddDryrun(app, invocation);
  oomtrace::AddAnalyze(app, invocation);
  oomtrace::AddDoctor(app, invocation);
  oomtrace::AddGpus(app, invocation);
  try {
    const int status = Parse(app, invocation);
    if (invocation.signal != 0) oomtrace::DieOf(invocation.signal);
    return status;
  } catch (const std::exception& error) {
    oomtrace::PrintError(error.what(), "");
    return oomtrace::kExitUsage;
  }
}
