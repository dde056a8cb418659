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
  oomtrace verify                              run its fixes on a simulated card: which fit, with what peak
  oomtrace explain train.log                   no trace: what the error's text alone tells
  oomtrace dryrun --gpu rtx4070 -- python train.py
                                               the same without a GPU: a simulated card under the real PyTorch
  oomtrace fit --gpu rtx4070 --vary bs=1..64 -- python train.py --batch_size={bs}
                                               the largest value that fits on a card, by simulated runs
  oomtrace plan --layers 12 --hidden 768       before any run: the memory of a transformer, the largest micro-batches

Exit status:
  analyze, verify, fit, explain, doctor, gpus: 0 healthy, 3 an out-of-memory was diagnosed, 1 usage or input error,
  2 a trace is damaged beyond use. run, dryrun: the command's own status, or its signal; 127 command not found,
  126 not executable, 1 wrong arguments.

`oomtrace COMMAND --help` says more.)";

void PrintNoCommand(const CLI::App& app, const oomtrace::Invocation& invocation) {
  std::string commands;
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    commands += (commands.empty() ? "" : ", ") + command->get_name();
  }
  const std::string first = invocation.arguments.empty() ? "" : invocation.arguments.front();
  const std::string what = first.empty()            ? "a command is missing"
                           : first.starts_with("-") ? "unknown option " + oomtrace::ShellQuoted({first})
                                                    : "unknown command " + oomtrace::ShellQuoted({first});
  oomtrace::PrintError(what, "the commands are " + commands + "; `oomtrace --help` explains them");
}

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
    if (chosen.empty()) {
      PrintNoCommand(app, invocation);
    } else {
      oomtrace::PrintError(error.what(), "`oomtrace " + chosen.front()->get_name() + " --help` shows what is possible");
    }
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
  oomtrace::AddVerify(app, invocation);
  oomtrace::AddExplain(app, invocation);
  oomtrace::AddDoctor(app, invocation);
  oomtrace::AddGpus(app, invocation);
  oomtrace::AddFit(app, invocation);
  oomtrace::AddPlan(app, invocation);
  try {
    const int status = Parse(app, invocation);
    if (invocation.signal != 0) oomtrace::DieOf(invocation.signal);
    return status;
  } catch (const std::exception& error) {
    oomtrace::PrintError(error.what(), "");
    return oomtrace::kExitUsage;
  }
}
