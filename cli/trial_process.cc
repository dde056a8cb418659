#include "cli/trial_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/launch.h"

namespace oomtrace {
namespace {

constexpr int kStopSignals[] = {SIGINT, SIGTERM, SIGHUP};

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// The children of this process as the kernel lists them (Linux 3.5).
std::vector<pid_t> Children() {
  std::ifstream list("/proc/thread-self/children");
  std::vector<pid_t> children;
  for (pid_t child = 0; list >> child;) children.push_back(child);
  return children;
}

}  // namespace

ProcessKeeper::ProcessKeeper() {
  prctl(PR_GET_CHILD_SUBREAPER, &was_subreaper_);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  sigemptyset(&waited_);
  for (const int signal : kStopSignals) sigaddset(&waited_, signal);
  sigaddset(&waited_, SIGCHLD);
  sigprocmask(SIG_BLOCK, &waited_, &before_);
  // A parent that ignores SIGCHLD hands that down to us, and then the kernel would not keep the children's statuses.
  signal(SIGCHLD, SIG_DFL);
}

ProcessKeeper::~ProcessKeeper() {
  prctl(PR_SET_CHILD_SUBREAPER, was_subreaper_);
  sigprocmask(SIG_SETMASK, &before_, nullptr);
}

int ProcessKeeper::Sleep(std::chrono::nanoseconds time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  const timespec wait = {seconds.count(), (time - seconds).count()};
  const int signal = sigtimedwait(&waited_, nullptr, &wait);
  return signal > 0 && signal != SIGCHLD ? signal : 0;
}

void ProcessKeeper::EndOrphans() {
  // Each that ends may hand its own children to us.
  for (std::vector<pid_t> found = Children(); !found.empty(); found = Children()) {
    std::erase(found, spared_);
    if (found.empty()) return;
    for (const pid_t child : found) {
      kill(child, SIGKILL);
      while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
      }
    }
  }
}

absl::StatusOr<pid_t> StartProcess(const std::vector<std::string>& command, const Environment& environment,
                                   const ProcessStreams& streams, const ProcessKeeper& keeper) {
  const std::string file = ResolveCommand(command.front(), environment);
  if (file.empty()) return absl::NotFoundError(absl::StrCat("command not found: ", command.front()));
  if (access(file.c_str(), X_OK) != 0)
    return absl::PermissionDeniedError(absl::StrCat("cannot execute ", command.front(), ": ", std::strerror(errno)));
  std::vector<std::string> words = command, lines = environment.Lines();
  const std::vector<char*> arguments = Pointers(words), variables = Pointers(lines);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) return absl::ErrnoToStatus(errno, "fork");
  if (child > 0) {
    setpgid(child, child);
    return child;
  }
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  dup2(streams.input, STDIN_FILENO);
  dup2(streams.output, STDOUT_FILENO);
  dup2(open(streams.errors.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), STDERR_FILENO);
  sigprocmask(SIG_SETMASK, &keeper.mask_before(), nullptr);
  execve(file.c_str(), arguments.data(), variables.data());
  const char* why = std::strerror(errno);
  [[maybe_unused]] const ssize_t told = write(STDERR_FILENO, why, std::strlen(why));
  _exit(127);
}

absl::StatusOr<pid_t> StartTrial(const std::vector<std::string>& command, const Environment& environment,
                                 const TrialFiles& files, const ProcessKeeper& keeper) {
  const int input = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int output = open(files.standard_output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  absl::StatusOr<pid_t> child = StartProcess(command, environment, {input, output, files.errors}, keeper);
  close(input);
  close(output);
  return child;
}

std::optional<int> EndedWith(pid_t child) {
  int status = 0;
  const pid_t ended = waitpid(child, &status, WNOHANG);
  return ended == child ? std::optional(status) : std::nullopt;
}

std::string HowItEnded(int wait_status) {
  if (!WIFSIGNALED(wait_status)) return absl::StrCat("status ", WEXITSTATUS(wait_status));
  return absl::StrCat("signal ", WTERMSIG(wait_status), " (", strsignal(WTERMSIG(wait_status)), ")");
}

std::string LastLines(const std::filesystem::path& file) {
  constexpr size_t kLines = 12;
  constexpr std::streamoff kBytes = 16384;
  std::ifstream stream(file, std::ios::binary | std::ios::ate);
  if (!stream) return "";
  stream.seekg(std::max<std::streamoff>(0, static_cast<std::streamoff>(stream.tellg()) - kBytes));
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipWhitespace());
  if (lines.size() > kLines) lines.erase(lines.begin(), lines.end() - kLines);
  std::string shown;
  for (const std::string& line : lines) absl::StrAppend(&shown, shown.empty() ? "  " : "\n  ", line);
  return shown;
}

}  // namespace oomtrace
