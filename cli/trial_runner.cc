#include "cli/trial_runner.h"

#include <cstdio>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "analyzer/diagnose/words.h"
#include "cli/python_command.h"
#include "cli/simulated_run.h"

namespace oomtrace {
namespace {

namespace fs = std::filesystem;

// How two trials of the same differ, "" where they do not. Steps of a run that was stopped may: they are counted while
// it goes on.
std::string Difference(const Trial& alone, const Trial& forked) {
  const auto differ = [](const char* what, int64_t a, int64_t b) {
    return a == b ? "" : absl::StrCat(what, " ", Bytes(a), " alone and ", Bytes(b), " forked");
  };
  if (alone.fits != forked.fits) return absl::StrCat("it ", alone.fits ? "fits alone" : "fits forked", " only");
  if (!alone.fits && alone.summary != forked.summary)
    return absl::StrCat("alone: ", alone.summary, " Forked: ", forked.summary);
  for (const std::string& difference :
       {differ("tensors", alone.peak, forked.peak), differ("reserved", alone.reserved, forked.reserved),
        differ("left", alone.left, forked.left), differ("the card", alone.total, forked.total)}) {
    if (!difference.empty()) return difference;
  }
  return "";
}

}  // namespace

TrialRunner::TrialRunner(const TrialGoal& goal, fs::path folder, bool fork, int& interrupted)
    : goal_(goal), folder_(std::move(folder)), fork_(fork), interrupted_(interrupted) {
  fs::create_directory(folder_ / "trial");
}

TrialRunner::~TrialRunner() = default;

absl::StatusOr<Trial> TrialRunner::Run(const std::vector<std::string>& command, const GpuRequest& gpu) {
  absl::StatusOr<RecordedRun> run = SimulatedRun(gpu, /*record=*/true);
  if (!run.ok()) return run.status();
  Equip(*run, TraceIn(folder_ / "trial"));
  if (fork_ && compared_) {
    const absl::StatusOr<WarmInterpreter*> warm = Warm(command, *run, gpu.gpu);
    if (!warm.ok()) return warm.status();
    absl::StatusOr<Trial> trial = RunIn(command, *run, *warm);
    if (!absl::IsUnavailable(trial.status())) return trial;
    StopForking(std::string(trial.status().message()));
  }
  absl::StatusOr<Trial> trial = RunIn(command, *run, nullptr);
  if (fork_ && !compared_ && trial.ok()) {
    if (const absl::Status status = Compare(command, *run, gpu.gpu, *trial); !status.ok()) return status;
  }
  return trial;
}

absl::StatusOr<Trial> TrialRunner::RunIn(const std::vector<std::string>& command, const RecordedRun& run,
                                         WarmInterpreter* warm) {
  return RunTrial(command, run, goal_, folder_ / "trial", warm, keeper_, interrupted_);
}

absl::StatusOr<WarmInterpreter*> TrialRunner::Warm(const std::vector<std::string>& command, const RecordedRun& run,
                                                   const std::string& gpu) {
  if (warm_ && warm_gpu_ == gpu) return warm_->Serves(command) ? warm_.get() : nullptr;
  warm_.reset();
  warm_gpu_ = gpu;
  absl::StatusOr<std::unique_ptr<WarmInterpreter>> warm =
      WarmInterpreter::Start(command, run.environment, folder_ / "warm", keeper_, interrupted_);
  if (absl::IsCancelled(warm.status())) return warm.status();
  if (warm.ok()) {
    warm_ = *std::move(warm);
    return warm_.get();
  }
  StopForking(std::string(warm.status().message()));
  return nullptr;
}

absl::Status TrialRunner::Compare(const std::vector<std::string>& command, const RecordedRun& run,
                                  const std::string& gpu, const Trial& alone) {
  compared_ = true;
  const absl::StatusOr<WarmInterpreter*> warm = Warm(command, run, gpu);
  if (!warm.ok()) return warm.status();
  if (*warm == nullptr) return absl::OkStatus();
  const absl::StatusOr<Trial> forked = RunIn(command, run, *warm);
  if (absl::IsCancelled(forked.status())) return forked.status();
  const std::string difference = forked.ok() ? Difference(alone, *forked) : std::string(forked.status().message());
  if (!difference.empty()) StopForking(absl::StrCat("the first one went another way there: ", difference));
  return absl::OkStatus();
}

void TrialRunner::StopForking(const std::string& why) {
  fork_ = false;
  warm_.reset();
  std::fprintf(stderr, "oomtrace: each trial is a process of its own: %s\n", why.c_str());
}

}  // namespace oomtrace
