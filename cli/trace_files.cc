#include "cli/trace_files.h"

#include <algorithm>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "analyzer/read/trace_reader.h"
#include "cli/invocation.h"

namespace oomtrace {
namespace fs = std::filesystem;

std::vector<fs::path> TracesIn(const fs::path& folder) {
  std::vector<std::pair<fs::file_time_type, fs::path>> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    if (entry->path().extension() != ".oomtrace" || !entry->is_regular_file(ignored)) continue;
    found.emplace_back(entry->last_write_time(ignored), entry->path());
  }
  std::sort(found.rbegin(), found.rend());
  std::vector<fs::path> paths;
  paths.reserve(found.size());
  for (auto& [time, path] : found) paths.push_back(std::move(path));
  return paths;
}

absl::StatusOr<std::vector<fs::path>> NewestTraces() {
  auto traces = TracesIn(".");
  for (fs::path& trace : traces) trace = trace.lexically_normal();
  if (!traces.empty()) return traces;
  const char* folder = std::getenv("OOMTRACE_DIR");
  if (folder == nullptr || *folder == '\0') {
    return absl::NotFoundError("there is no *.oomtrace file in the working directory, and OOMTRACE_DIR is not set");
  }
  if (traces = TracesIn(folder); !traces.empty()) return traces;
  return absl::NotFoundError(
      absl::StrCat("there is no *.oomtrace file in the working directory, nor in OOMTRACE_DIR=", folder));
}

absl::StatusOr<std::string> NewestTrace() {
  const auto candidates = NewestTraces();
  if (!candidates.ok()) return candidates.status();
  std::string passed_over;
  for (const fs::path& path : *candidates) {
    const absl::Status opened = TraceReader::Open(path.string()).status();
    if (!absl::IsInvalidArgument(opened)) {
      if (!passed_over.empty())
        PrintError(passed_over, absl::StrCat("so the newest trace is taken: ", ShellQuoted({path.string()})));
      return path.string();
    }
    if (passed_over.empty()) passed_over = std::string(opened.message());
  }
  return absl::InvalidArgumentError(passed_over);
}

ScratchFolder::ScratchFolder() {
  std::error_code error;
  const fs::path place = fs::temp_directory_path(error);
  std::string name = (place / "oomtrace-XXXXXX").string();
  if (!error && mkdtemp(name.data()) != nullptr) {
    path_ = name;
  } else {
    const char* variable = std::getenv("TMPDIR");
    status_ = absl::InternalError(absl::StrCat("no folder can be made in ", variable != nullptr ? variable : "/tmp",
                                               "; TMPDIR names another place"));
  }
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  if (!path_.empty() && !keep_) fs::remove_all(path_, ignored);
}

TraceWatch::TraceWatch(const fs::path& output, const fs::path& folder)
    : output_(output), folder_(output.empty() ? folder : output.parent_path()) {
  for (fs::path& trace : TracesIn(folder_)) before_.insert(std::move(trace));
  std::error_code error;
  if (!output_.empty() && fs::exists(output_, error)) before_.insert(output_);
}

std::vector<fs::path> TraceWatch::NewTraces() const {
  std::vector<fs::path> traces;
  std::error_code error;
  if (!output_.empty() && !before_.contains(output_) && fs::exists(output_, error)) traces.push_back(output_);
  for (const fs::path& trace : TracesIn(folder_)) {
    if (trace == output_ || before_.contains(trace)) continue;
    // Child processes of a job with -o name their traces after it: <stem>.<pid>.oomtrace.
    const bool related = output_.empty() || trace.filename().string().starts_with(output_.stem().string() + ".");
    if (related) traces.push_back(trace);
  }
  return traces;
}

}  // namespace oomtrace
