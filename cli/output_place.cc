#include "cli/output_place.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string_view>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "analyzer/read/file_header.h"
#include "analyzer/read/trace_reader.h"
#include "analyzer/timeline/process_life.h"

namespace oomtrace {
namespace {

namespace fs = std::filesystem;

constexpr int kMostNames = 1000;  // tried for an older trace

bool IsTrace(const fs::path& path) {
  char start[kTraceMagic.size()] = {};
  std::ifstream file(path, std::ios::binary);
  file.read(start, sizeof start);
  return file.gcount() == sizeof start && std::string_view(start, sizeof start) == kTraceMagic;
}

struct Older {
  int64_t running = 0;  // process that still writes it, 0: none, as far as can be told
  std::string began;
};

Older Examine(const fs::path& path) {
  Older older;
  absl::Time began = absl::Now();
  if (const auto reader = TraceReader::Open(path.string()); reader.ok()) {
    const trace::Process& process = (*reader)->tables().process;
    if (LifeOf(process) == ProcessLife::kRunning) older.running = process.pid();
    began = absl::FromUnixNanos(static_cast<int64_t>((*reader)->header().start_unix_ns));
  }
  older.began = absl::FormatTime("%Y-%m-%dT%H-%M-%S", began, absl::UTCTimeZone());
  return older;
}

// A name beside `path` that no file has yet, and the file there. "": it cannot be moved, errno says why.
fs::path MoveAside(const fs::path& path, const std::string& began) {
  for (int attempt = 1; attempt < kMostNames; ++attempt) {
    const std::string number = attempt > 1 ? absl::StrCat("-", attempt) : "";
    const fs::path aside =
        path.parent_path() / absl::StrCat(path.stem().string(), ".", began, number, path.extension().string());
    if (renameat2(AT_FDCWD, path.c_str(), AT_FDCWD, aside.c_str(), RENAME_NOREPLACE) == 0) return aside;
    // A file system that does not know the flag, such as NFS.
    if (errno == EINVAL && link(path.c_str(), aside.c_str()) == 0 && unlink(path.c_str()) == 0) return aside;
    if (errno != EEXIST) return "";
  }
  return "";
}

}  // namespace

absl::StatusOr<std::string> PrepareOutput(const fs::path& path) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::error_code error;
  if (!fs::is_directory(folder, error))
    return absl::NotFoundError(absl::StrCat("-o ", path.string(), ": there is no folder ", folder.string()));
  if (access(folder.c_str(), W_OK) != 0)
    return absl::PermissionDeniedError(absl::StrCat("-o ", path.string(), ": ", folder.string(), " is not writable"));
  const fs::file_status status = fs::symlink_status(path, error);
  if (!fs::exists(status)) return "";
  if (!fs::is_regular_file(status) || !IsTrace(path)) {
    return absl::AlreadyExistsError(
        absl::StrCat("-o ", path.string(), ": that is no trace, so it is not overwritten; choose another name"));
  }
  const Older older = Examine(path);
  if (older.running != 0) {
    return absl::StrCat(path.string(), " is the trace of process ", older.running,
                        ", which still runs: the trace of this job goes beside it, as ", path.stem().string(),
                        ".PID.oomtrace");
  }
  const fs::path aside = MoveAside(path, older.began);
  if (aside.empty()) {
    return absl::PermissionDeniedError(absl::StrCat("-o ", path.string(), ": the older trace there cannot be moved: ",
                                                    std::strerror(errno), "; choose another name"));
  }
  return absl::StrCat("the older trace of that name is now ", aside.string());
}

}  // namespace oomtrace
