#include "cli/trace_end.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "analyzer/read/trace_reader.h"

namespace oomtrace {
namespace {

class EndSink : public EventSink {
 public:
  void OnOutOfMemory(const OutOfMemoryEvent& event) override { out_of_memory_ = true; }
  void OnExit(const ExitEvent& event) override { exited_ = true; }
  bool out_of_memory() const { return out_of_memory_; }
  bool exited() const { return exited_; }

 private:
  bool out_of_memory_ = false;
  bool exited_ = false;
};

}  // namespace

bool RecorderAnnounced(const std::filesystem::path& trace) {
  const auto reader = TraceReader::Open(trace.string());
  if (!reader.ok()) return false;
  EndSink sink;
  (*reader)->ReadEvents(&sink);
  return sink.out_of_memory() && (sink.exited() || (*reader)->header().exit_ticks != 0);
}

bool MayBelongTo(const std::filesystem::path& trace, const std::string& job) {
  const auto reader = TraceReader::Open(trace.string());
  if (!reader.ok() || (*reader)->tables().process.pid() == 0) return true;
  const auto& environment = (*reader)->tables().process.environment();
  return std::find(environment.begin(), environment.end(), absl::StrCat(kJobVariable, "=", job)) != environment.end();
}

}  // namespace oomtrace
