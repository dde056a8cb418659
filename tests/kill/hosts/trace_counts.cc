// What is in a trace, counted, as one JSON line: for tests whose traces have too many events to be decoded in Python.
// Exit status 1 where the trace cannot be read.
#include <cstdint>
#include <cstdio>
#include <unordered_map>

#include "analyzer/read/trace_reader.h"

namespace oomtrace {
namespace {

class Counter : public EventSink {
 public:
  void OnTensorAlloc(const TensorAllocEvent& event) override {
    ++allocs;
    live[event.address] = event.bytes;
  }
  void OnTensorFree(const TensorFreeEvent& event) override {
    ++frees;
    unborn_frees += live.erase(event.address) == 0;
  }
  void OnDeviceAlloc(const DeviceAllocEvent& event) override { ++device_allocs; }
  void OnExit(const ExitEvent& event) override { ++exits; }

  int64_t allocs = 0, frees = 0, unborn_frees = 0, device_allocs = 0, exits = 0;
  std::unordered_map<uint64_t, int64_t> live;
};

int Count(const char* path) {
  auto reader = TraceReader::Open(path);
  if (!reader.ok()) {
    std::fprintf(stderr, "%s\n", std::string(reader.status().message()).c_str());
    return 1;
  }
  Counter counter;
  (*reader)->ReadEvents(&counter);
  const FileHeader& header = (*reader)->header();
  const auto number = [](const char* name, uint64_t value) {
    std::printf("\"%s\": %llu, ", name, static_cast<unsigned long long>(value));
  };
  std::printf("{");
  number("pid", header.pid);
  number("state", header.state);
  number("allocs", static_cast<uint64_t>(counter.allocs));
  number("frees", static_cast<uint64_t>(counter.frees));
  number("unborn_frees", static_cast<uint64_t>(counter.unborn_frees));
  number("live", counter.live.size());
  number("device_allocs", static_cast<uint64_t>(counter.device_allocs));
  number("exits", static_cast<uint64_t>(counter.exits));
  number("dropped", header.events_dropped);
  number("recycled", header.chunks_recycled);
  number("folded", header.events_folded);
  number("chunks", header.reserved_chunks);
  std::printf("\"damage\": %zu}\n", (*reader)->damage().size());
  return 0;
}

}  // namespace
}  // namespace oomtrace

int main(int count, char** arguments) {
  if (count == 2) return oomtrace::Count(arguments[1]);
  std::fprintf(stderr, "usage: trace_counts TRACE\n");
  return 2;
}
