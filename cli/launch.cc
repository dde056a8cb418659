#include "cli/launch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace oomtrace {
namespace {

// Job control (SIGTSTP, SIGCONT) keeps its default: the terminal stops and continues both processes.
constexpr std::array kForwarded = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

absl::Status ExecError(int error, const std::string& name) {
  if (error == ENOENT) return absl::NotFoundError(absl::StrCat("command not found: ", name));
  return absl::PermissionDeniedError(absl::StrCat("cannot execute ", name, ": ", std::strerror(error)));
}

// Waits for the child and passes on what is sent to us meanwhile. All of `signals` are blocked in this thread.
int WaitForwarding(pid_t child, const sigset_t& signals) {
  for (;;) {
    int status = 0;
    if (waitpid(child, &status, WNOHANG) == child) return status;
    siginfo_t info = {};
    const int signal = sigwaitinfo(&signals, &info);
    // SI_KERNEL: the terminal has sent it to every process of the group, so the command has it already.
    if (signal > 0 && signal != SIGCHLD && info.si_code != SI_KERNEL) kill(child, signal);
  }
}

Outcome ToOutcome(pid_t pid, int status) {
  if (WIFSIGNALED(status)) return {pid, 128 + WTERMSIG(status), WTERMSIG(status)};
  return {pid, WEXITSTATUS(status), 0};
}

struct Pipe {
  int read = -1;
  int write = -1;
};

absl::StatusOr<Pipe> OpenPipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe");
  return Pipe{ends[0], ends[1]};
}

std::string ReadAll(int descriptor) {
  std::string text;
  char buffer[4096];
  for (;;) {
    const ssize_t got = read(descriptor, buffer, sizeof buffer);
    if (got > 0) text.append(buffer, static_cast<size_t>(got));
    if (got == 0 || (got < 0 && errno != EINTR)) return text;
  }
}

// In the child: becomes the command, or reports errno through the pipe and ends.
[[noreturn]] void Become(const std::string& file, char* const* arguments, char* const* environment, int report) {
  execve(file.c_str(), arguments, environment);
  const int error = errno;
  // An ENOEXEC file is a script without "#!": shells run it with sh, so do we.
  if (error == ENOEXEC) {
    std::vector<char*> with_shell = {const_cast<char*>("/bin/sh"), const_cast<char*>(file.c_str())};
    for (char* const* argument = arguments + 1; *argument != nullptr; ++argument) with_shell.push_back(*argument);
    with_shell.push_back(nullptr);
    execve("/bin/sh", with_shell.data(), environment);
  }
  [[maybe_unused]] const ssize_t written = write(report, &error, sizeof error);
  _exit(127);
}

}  // namespace

std::string ResolveCommand(const std::string& name, const Environment& environment) {
  if (name.find('/') != std::string::npos) return access(name.c_str(), F_OK) == 0 ? name : "";
  std::string unusable;
  for (absl::string_view folder : absl::StrSplit(environment.Get("PATH"), ':')) {
    const std::string path = absl::StrCat(folder.empty() ? "." : folder, "/", name);
    if (access(path.c_str(), F_OK) != 0 || std::filesystem::is_directory(path)) continue;
    if (access(path.c_str(), X_OK) == 0) return path;
    if (unusable.empty()) unusable = path;
  }
  return unusable;
}

absl::StatusOr<Outcome> Launch(const std::vector<std::string>& command, const Environment& environment) {
  const std::string file = ResolveCommand(command.front(), environment);
  if (file.empty()) return ExecError(ENOENT, command.front());
  const std::vector<char*> arguments = Pointers(command);
  const std::vector<std::string> lines = environment.Lines();
  const std::vector<char*> variables = Pointers(lines);
  absl::StatusOr<Pipe> report = OpenPipe();
  if (!report.ok()) return report.status();

  sigset_t signals;
  sigset_t before;
  sigemptyset(&signals);
  sigaddset(&signals, SIGCHLD);
  for (int signal : kForwarded) sigaddset(&signals, signal);
  sigprocmask(SIG_BLOCK, &signals, &before);
  // A parent that ignores SIGCHLD hands that down to us, and then the kernel would not keep the command's status.
  const auto inherited = ::signal(SIGCHLD, SIG_DFL);

  const pid_t child = fork();
  if (child == 0) {
    ::signal(SIGCHLD, inherited);
    sigprocmask(SIG_SETMASK, &before, nullptr);
    Become(file, arguments.data(), variables.data(), report->write);
  }
  const int fork_error = errno;
  close(report->write);
  if (child < 0) {
    close(report->read);
    sigprocmask(SIG_SETMASK, &before, nullptr);
    return absl::ErrnoToStatus(fork_error, "fork");
  }
  int exec_error = 0;
  const std::string reported = ReadAll(report->read);
  close(report->read);
  if (reported.size() == sizeof exec_error) std::memcpy(&exec_error, reported.data(), sizeof exec_error);
  const int status = WaitForwarding(child, signals);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  if (exec_error != 0) return ExecError(exec_error, command.front());
  return ToOutcome(child, status);
}

absl::StatusOr<std::string> Capture(const std::vector<std::string>& command, const Environment& environment) {
  const std::string file = ResolveCommand(command.front(), environment);
  if (file.empty()) return ExecError(ENOENT, command.front());
  const std::vector<char*> arguments = Pointers(command);
  const std::vector<std::string> lines = environment.Lines();
  const std::vector<char*> variables = Pointers(lines);
  absl::StatusOr<Pipe> output = OpenPipe();
  if (!output.ok()) return output.status();
  const pid_t child = fork();
  if (child == 0) {
    const int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(nowhere, STDIN_FILENO);
    dup2(output->write, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    execve(file.c_str(), arguments.data(), variables.data());
    _exit(127);
  }
  close(output->write);
  std::string text;
  if (child > 0) text = ReadAll(output->read);
  close(output->read);
  if (child < 0) return absl::ErrnoToStatus(EAGAIN, "fork");
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return absl::InternalError(
        absl::StrCat(command.front(), " failed with status ", ToOutcome(child, status).exit_status));
  }
  return text;
}

void DieOf(int signal) {
  // The command has written its core file, if any; ours would overwrite it.
  const rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  ::signal(signal, SIG_DFL);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal);
  sigprocmask(SIG_UNBLOCK, &only, nullptr);
  raise(signal);
  std::_Exit(128 + signal);
}

}  // namespace oomtrace
