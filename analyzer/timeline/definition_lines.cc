#include "analyzer/timeline/definition_lines.h"

#include <sys/stat.h>

#include <fstream>
#include <map>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "analyzer/timeline/queries.h"

namespace oomtrace {
namespace {

constexpr int64_t kLargestSource = 4 << 20;  // bytes; a longer file is no source that somebody wrote

// Lines of a source file, none where it cannot be trusted to be what ran.
std::vector<std::string> SourceLines(const std::string& path, int64_t recorded) {
  struct stat about;
  if (stat(path.c_str(), &about) != 0 || !S_ISREG(about.st_mode) || about.st_size > kLargestSource) return {};
  if (about.st_mtim.tv_sec * int64_t{1000000000} + about.st_mtim.tv_nsec > recorded) return {};
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// "def NAME(" for the last part of a qualified name.
bool Defines(const std::string& line, const std::string& function) {
  absl::string_view text = absl::StripLeadingAsciiWhitespace(line);
  absl::ConsumePrefix(&text, "async ");
  if (!absl::ConsumePrefix(&text, "def ")) return false;
  return absl::StartsWith(text, absl::StrCat(function.substr(function.rfind('.') + 1), "("));
}

// The line of the definition that belongs to the decorator at `line`; 0 where there is none.
int64_t DefinitionAfter(const std::vector<std::string>& lines, int64_t line, const std::string& function) {
  const auto text = [&](int64_t number) { return lines[static_cast<size_t>(number - 1)]; };
  const auto count = static_cast<int64_t>(lines.size());
  if (line < 1 || line > count || !absl::StartsWith(absl::StripLeadingAsciiWhitespace(text(line)), "@")) return 0;
  for (int64_t at = line + 1; at <= count; ++at) {
    if (Defines(text(at), function)) return at;
    const absl::string_view stripped = absl::StripLeadingAsciiWhitespace(text(at));
    if (absl::StartsWith(stripped, "def ") || absl::StartsWith(stripped, "class ")) return 0;
  }
  return 0;
}

}  // namespace

void MoveToDefinitions(int64_t recorded, std::vector<Frame>* frames) {
  std::map<std::string, std::vector<std::string>> sources;
  for (Frame& frame : *frames) {
    const bool named = !frame.function.empty() && frame.function.back() != '>';  // <module>, <lambda>
    if (!named || !IsUserFrame(frame) || !absl::StartsWith(frame.file, "/")) continue;
    const auto [source, fresh] = sources.try_emplace(frame.file);
    if (fresh) source->second = SourceLines(frame.file, recorded);
    if (const int64_t line = DefinitionAfter(source->second, frame.line, frame.function); line != 0) frame.line = line;
  }
}

}  // namespace oomtrace
