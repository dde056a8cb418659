#include "analyzer/timeline/process_life.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace oomtrace {
namespace {

// Of the words behind the program's name in /proc/PID/stat: proc(5) counts the state as field 3, the start as 22.
constexpr size_t kState = 0;
constexpr size_t kStart = 19;

std::string Contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

bool IsHere(const trace::Process& process) {
  if (process.boot().empty() || process.pid_namespace().empty() || process.started() == 0) return false;
  std::error_code error;
  const std::string pid_namespace = std::filesystem::read_symlink("/proc/self/ns/pid", error).string();
  return process.pid_namespace() == pid_namespace &&
         process.boot() == absl::StripAsciiWhitespace(Contents("/proc/sys/kernel/random/boot_id"));
}

}  // namespace

ProcessLife LifeOf(const trace::Process& process) {
  if (!IsHere(process)) return ProcessLife::kUnknown;
  const std::string stat = Contents(absl::StrCat("/proc/", process.pid(), "/stat"));
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return ProcessLife::kGone;
  const std::vector<std::string> words = absl::StrSplit(stat.substr(name_end + 1), ' ', absl::SkipEmpty());
  uint64_t start = 0;
  if (words.size() <= kStart || !absl::SimpleAtoi(words[kStart], &start)) return ProcessLife::kUnknown;
  // Another process may have its number by now; a dead one that nobody has waited for keeps it.
  const bool dead = words[kState] == "Z" || words[kState] == "X";
  return start == process.started() && !dead ? ProcessLife::kRunning : ProcessLife::kGone;
}

}  // namespace oomtrace
