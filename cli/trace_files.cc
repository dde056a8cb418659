#include "cli/trace_files.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace oomtrace {
namespace {

namespace fs = std::filesystem;

// The first bytes of every trace: docs/trace-format.md.
constexpr char kMagic[] = "OOMTRACE";

bool MayBeReplaced(const fs::path& path) {
  char start[8] = {};
  std::ifstream file(path, std::ios::binary);
  file.read(start, sizeof start);
  return file.gcount() == sizeof start && std::memcmp(start, kMagic, sizeof start) == 0;
}

}  // namespace

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

absl::Status PrepareOutput(const fs::path& path) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    return absl::NotFoundError(absl::StrCat("-o ", path.string(), ": there is no folder ", folder.string()));
  }
  if (access(folder.c_str(), W_OK) != 0) {
    return absl::PermissionDeniedError(absl::StrCat("-o ", path.string(), ": ", folder.string(), " is not writable"));
  }
  if (!fs::exists(path, error)) return absl::OkStatus();
  if (!fs::is_regular_file(path, error) || !MayBeReplaced(path)) {
    return absl::AlreadyExistsError(
        absl::StrCat("-o ", path.string(), ": that is no trace, so it is not overwritten; choose another name"));
  }
  if (!fs::remove(path, error)) {
    return absl::PermissionDeniedError(absl::StrCat("-o ", path.string(), ": the older trace there cannot be removed"));
  }
  return absl::OkStatus();
}

TraceWatch::TraceWatch(const fs::path& output, const fs::path& folder)
    : output_(output), folder_(output.empty() ? folder : output.parent_path()) {
  for (fs::path& trace : TracesIn(folder_)) before_.insert(std::move(trace));
}

std::vector<fs::path> TraceWatch::NewTraces() const {
  std::vector<fs::path> traces;
  std::error_code error;
  if (!output_.empty() && fs::exists(output_, error)) traces.push_back(output_);
  for (const fs::path& trace : TracesIn(folder_)) {
    if (trace == output_ || before_.contains(trace)) continue;
    // Child processes of a job with -o name their traces after it: <stem>.<pid>.oomtrace.
    const bool related = output_.empty() || trace.filename().string().starts_with(output_.stem().string() + ".");
    if (related) traces.push_back(trace);
  }
  return traces;
}

}  // namespace oomtrace
