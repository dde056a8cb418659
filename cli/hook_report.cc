#include "cli/hook_report.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "analyzer/read/trace_reader.h"
#include "cli/invocation.h"
#include "cli/trace_end.h"

namespace oomtrace {
namespace {

const char* StateName(trace::Hook::State state) {
  switch (state) {
    case trace::Hook::HOOKED:
      return "hooked";
    case trace::Hook::MISSING:
      return "missing";
    case trace::Hook::NOT_LOADED:
      return "not loaded";
    case trace::Hook::DISABLED:
      return "disabled";
    default:
      return "unknown";
  }
}

// "at::detail::empty_generic" for a mangled C++ name, without its parameters; a C name as it is.
std::string PlainName(const std::string& name) {
  int status = 0;
  char* demangled = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  if (demangled == nullptr) return name;
  std::string plain = demangled;
  std::free(demangled);
  return plain.substr(0, plain.find('('));
}

// One line a library: "libc10.so  3 hooked"; then one line for each function that is not hooked, with the reason.
std::string HookLines(const std::vector<trace::Hook>& hooks) {
  std::map<std::string, std::vector<const trace::Hook*>> by_library;
  for (const trace::Hook& hook : hooks) by_library[hook.library()].push_back(&hook);
  std::string text;
  for (const auto& [library, functions] : by_library) {
    // PyTorch's versions differ in how they mangle a function: it is missing only where no spelling of it is hooked.
    std::set<std::string> hooked;
    for (const trace::Hook* hook : functions) {
      if (hook->state() == trace::Hook::HOOKED) hooked.insert(PlainName(hook->name()));
    }
    std::map<std::string, int> counts;
    std::vector<const trace::Hook*> shown;
    for (const trace::Hook* hook : functions) {
      const bool is_hooked = hook->state() == trace::Hook::HOOKED;
      if (!is_hooked && hooked.contains(PlainName(hook->name()))) continue;
      ++counts[StateName(hook->state())];
      if (!is_hooked || !hook->reason().empty()) shown.push_back(hook);
    }
    const bool absent = std::all_of(functions.begin(), functions.end(),
                                    [](const trace::Hook* hook) { return hook->state() == trace::Hook::NOT_LOADED; });
    if (absent) {
      absl::StrAppendFormat(&text, "  %-24s not in this process\n", library);
      continue;
    }
    std::vector<std::string> parts;
    for (const auto& [state, count] : counts) parts.push_back(absl::StrCat(count, " ", state));
    absl::StrAppendFormat(&text, "  %-24s %s\n", library.empty() ? "(any)" : library, absl::StrJoin(parts, ", "));
    for (const trace::Hook* hook : shown) {
      absl::StrAppendFormat(&text, "    %s: %s%s\n", PlainName(hook->name()), StateName(hook->state()),
                            hook->reason().empty() ? "" : absl::StrCat(" (", hook->reason(), ")"));
    }
  }
  return text.empty() ? "  the trace does not list its hooks\n" : text;
}

// What a trace says of the machine and the job, for whoever wants to share it.
std::string OriginLines(const trace::Process& process) {
  std::string text;
  const auto line = [&text](const char* what, const std::string& found) {
    absl::StrAppendFormat(&text, "  %-18s %s\n", what, found.empty() ? "unknown" : found);
  };
  line("command", ShellQuoted({process.argument().begin(), process.argument().end()}));
  line("working directory", process.working_directory());
  line("host", process.host());
  for (const std::string& variable : process.environment()) {
    const bool ours = variable.starts_with(absl::StrCat(kJobVariable, "="));
    if (!ours && !variable.ends_with('=')) line("environment", variable);  // set to nothing
  }
  return text;
}

// Routes to device memory that no hook follows: what they take shows in the device's free bytes only.
std::string RouteLines(const Tables& tables) {
  std::string text;
  for (const trace::UnknownRoute& route : tables.unknown_routes) {
    const auto library = tables.libraries.find(route.library());
    const char* what = route.kind() == trace::UnknownRoute::PRIVATE_TABLE ? "private driver table"
                       : route.kind() == trace::UnknownRoute::BYPASSED    ? "bound past the recorder"
                                                                          : "version without a hook";
    absl::StrAppendFormat(&text, "  %-24s %s, by %s%s\n", what, route.name(),
                          library == tables.libraries.end() ? "an unknown library" : library->second.path,
                          route.may_allocate() ? "" : " (takes no device memory)");
  }
  return text;
}

// The states of the CUPTI collector, where one was asked for.
class CollectorStates : public EventSink {
 public:
  explicit CollectorStates(const Tables& tables) : tables_(tables) {}
  void OnCollectorState(int64_t time, const trace::CollectorState& event) override {
    const std::string& reason = tables_.String(event.reason());
    absl::StrAppendFormat(&text_, "  %10.3f s  %s%s\n", static_cast<double>(time) / 1e9, Name(event.state()),
                          reason.empty() ? "" : absl::StrCat(": ", reason));
  }
  const std::string& text() const { return text_; }

 private:
  static const char* Name(trace::CollectorState::State state) {
    switch (state) {
      case trace::CollectorState::OFF:
        return "not possible";
      case trace::CollectorState::MEMORY:
        return "watches memory";
      case trace::CollectorState::TIMELINE:
        return "a window is open";
      case trace::CollectorState::YIELDED:
        return "stepped aside";
      case trace::CollectorState::DEAD:
        return "ended";
      default:
        return "unknown";
    }
  }

  const Tables& tables_;
  std::string text_;
};

// "python 3.11.2, torch 2.11.0, CUDA 13.0, on the simulated GPU": what of it there was.
std::string VersionsLine(const trace::Process& process) {
  std::vector<std::string> parts;
  if (!process.python_version().empty()) parts.push_back("python " + process.python_version());
  if (!process.torch_version().empty()) parts.push_back("torch " + process.torch_version());
  if (!process.cuda_version().empty()) parts.push_back("CUDA " + process.cuda_version());
  if (parts.empty()) parts.emplace_back("no Python");
  if (process.simulated()) parts.emplace_back("on the simulated GPU");
  return absl::StrCat("  ", absl::StrJoin(parts, ", "), "\n");
}

std::string SystemLine(const trace::System& system) {
  const auto version = [](uint32_t number) {
    return number == 0 ? std::string("unknown") : absl::StrFormat("%d.%d", number / 1000, number % 1000 / 10);
  };
  if (system.driver_version() == 0 && system.container().empty() && system.cgroup().empty()) return "";
  return absl::StrFormat("  CUDA driver %s, runtime %s%s%s\n", version(system.driver_version()),
                         version(system.runtime_version()),
                         system.container().empty() ? "" : absl::StrCat(", container: ", system.container()),
                         system.dlsym_hooked() ? "" : "; dlsym not hooked: statically linked CUDA runtimes not seen");
}

std::string LossLines(const FileHeader& header) {
  std::string text;
  const auto line = [&text](uint64_t count, const char* what) {
    if (count != 0) absl::StrAppend(&text, "  ", count, " ", what, "\n");
  };
  line(header.events_dropped, "events dropped");
  line(header.chunks_recycled, "chunks recycled: the budget was full, their events are lost");
  line(header.events_folded, "events folded into summaries");
  line(header.device_calls_unhooked, "calls or lookups on routes that no hook follows");
  line(header.stacks_missed, "Python stacks that could not be taken");
  return text.empty() ? "  nothing was lost\n" : text;
}

}  // namespace

absl::StatusOr<HookReport> ReportHooks(const std::string& trace) {
  const auto opened = TraceReader::Open(trace);
  if (!opened.ok()) return opened.status();
  TraceReader& reader = **opened;
  CollectorStates collector(reader.tables());
  const int64_t events = reader.ReadEvents(&collector);
  const trace::Process& process = reader.tables().process;

  HookReport report;
  report.recording = reader.header().state == static_cast<uint32_t>(RecorderState::kRecording) && events > 0;
  report.text = absl::StrFormat("%s: process %d, %d events, recorder %s\n", trace, reader.header().pid, events,
                                RecorderStateText(reader.header()));
  absl::StrAppend(&report.text, VersionsLine(process));
  absl::StrAppend(&report.text, SystemLine(reader.tables().system));
  if (const std::string routes = RouteLines(reader.tables()); !routes.empty())
    absl::StrAppend(&report.text, "Not seen call by call\n", routes);
  absl::StrAppend(&report.text, "Origin\n", OriginLines(process));
  absl::StrAppend(&report.text, "Hooks\n", HookLines(reader.tables().hooks), "Losses\n", LossLines(reader.header()));
  if (!collector.text().empty()) absl::StrAppend(&report.text, "GPU timeline (CUPTI)\n", collector.text());
  if (!reader.tables().notes.empty()) absl::StrAppend(&report.text, "Notes\n");
  for (const std::string& note : reader.tables().notes) absl::StrAppend(&report.text, "  ", note, "\n");
  if (!reader.damage().empty()) absl::StrAppend(&report.text, "Damage\n");
  for (const std::string& damage : reader.damage()) absl::StrAppend(&report.text, "  ", damage, "\n");
  return report;
}

}  // namespace oomtrace
