#include "cli/warm_interpreter.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "cli/launch.h"
#include "cli/python_command.h"

extern "C" const char oomtrace_warm_interpreter[];

namespace oomtrace {
namespace {

using Json = nlohmann::json;

// How long the line of a child's number may take: a fork of a large process.
constexpr int kForkLimitMs = 30000;

std::vector<std::string> HeadOf(const PythonCommand& python) {
  std::vector<std::string> head = python.interpreter;
  head.push_back(python.module.empty() ? python.script : absl::StrCat("-m ", python.module));
  return head;
}

// The number of that name in a line, nothing where it has none.
std::optional<int> NumberIn(const std::string& line, const char* name) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains(name) || !json[name].is_number_integer()) return std::nullopt;
  return json[name].get<int>();
}

}  // namespace

absl::StatusOr<std::unique_ptr<WarmInterpreter>> WarmInterpreter::Start(const std::vector<std::string>& command,
                                                                        const Environment& environment,
                                                                        const std::filesystem::path& errors,
                                                                        ProcessKeeper& keeper, int& interrupted) {
  const std::optional<PythonCommand> python = ParsePythonCommand(command);
  if (!python) return absl::FailedPreconditionError("the command is not a Python that runs a script or a module");
  std::unique_ptr<WarmInterpreter> warm(new WarmInterpreter(keeper, HeadOf(*python)));
  std::vector<std::string> words = python->interpreter;
  words.emplace_back("-c");
  words.emplace_back(oomtrace_warm_interpreter);
  int to[2], from[2];
  if (pipe2(to, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe");
  warm->requests_ = to[1];
  if (pipe2(from, O_CLOEXEC) != 0) {
    close(to[0]);
    return absl::ErrnoToStatus(errno, "pipe");
  }
  warm->answers_ = from[0];
  const absl::StatusOr<pid_t> process = StartProcess(words, environment, {to[0], from[1], errors}, keeper);
  close(to[0]);
  close(from[1]);
  if (!process.ok()) return process.status();
  warm->process_ = *process;
  keeper.Spare(*process);
  fcntl(warm->answers_, F_SETFL, O_NONBLOCK);
  if (!warm->Send(Json{{"script", python->script}, {"module", python->module}}.dump())) warm->gone_ = true;
  while (!warm->gone_) {
    const std::string line = warm->Receive();
    if (!line.empty()) {
      const Json answer = Json::parse(line, nullptr, false);
      const bool told = answer.is_object() && answer.contains("cannot") && answer["cannot"].is_string();
      const std::string why = told ? answer["cannot"].get<std::string>() : "it does not answer";
      if (why.empty()) return warm;
      return absl::FailedPreconditionError(why);
    }
    interrupted = keeper.Sleep(std::chrono::milliseconds(20));
    if (interrupted != 0) return absl::CancelledError("interrupted");
  }
  return absl::FailedPreconditionError(absl::StrCat("the interpreter ended while it imported:\n", LastLines(errors)));
}

WarmInterpreter::~WarmInterpreter() {
  if (requests_ >= 0) close(requests_);
  if (answers_ >= 0) close(answers_);
  if (process_ == 0) return;
  kill(process_, SIGKILL);
  while (waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
  keeper_.Spare(0);
  keeper_.EndOrphans();
}

bool WarmInterpreter::Serves(const std::vector<std::string>& command) const {
  const std::optional<PythonCommand> python = ParsePythonCommand(command);
  return python && HeadOf(*python) == head_ && !gone_;
}

absl::StatusOr<pid_t> WarmInterpreter::Fork(const std::vector<std::string>& command, const TrialFiles& files) {
  const std::optional<PythonCommand> python = ParsePythonCommand(command);
  const Json request = {
      {"arguments", python->arguments}, {"stdout", files.standard_output.string()}, {"stderr", files.errors.string()}};
  if (Send(request.dump(-1, ' ', false, Json::error_handler_t::replace))) {
    pollfd ready = {answers_, POLLIN, 0};
    if (poll(&ready, 1, kForkLimitMs) == 1) {
      if (const std::optional<int> child = NumberIn(Receive(), "pid")) return *child;
    }
  }
  gone_ = true;
  return absl::UnavailableError("the warm interpreter is gone");
}

std::optional<int> WarmInterpreter::EndedWith() {
  if (const std::optional<int> status = NumberIn(Receive(), "status")) return status;
  return gone_ ? std::optional<int>(SIGKILL) : std::nullopt;
}

bool WarmInterpreter::Send(const std::string& line) const {
  const std::string text = line + "\n";
  // A reader that is gone is an error, not a signal.
  const auto before = signal(SIGPIPE, SIG_IGN);
  size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t wrote = write(requests_, text.data() + sent, text.size() - sent);
    if (wrote < 0 && errno != EINTR) break;
    if (wrote > 0) sent += static_cast<size_t>(wrote);
  }
  signal(SIGPIPE, before);
  return sent == text.size();
}

std::string WarmInterpreter::Receive() {
  size_t end = received_.find('\n');
  while (end == std::string::npos && !gone_) {
    char buffer[4096];
    const ssize_t got = read(answers_, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return "";
    if (got == 0) gone_ = true;
    received_.append(buffer, static_cast<size_t>(got));
    end = received_.find('\n');
  }
  if (end == std::string::npos) return "";
  const std::string line = received_.substr(0, end);
  received_.erase(0, end + 1);
  return line;
}

}  // namespace oomtrace
