// Builds trace files for tests, by docs/trace-format.md and with libprotobuf: it shares no code with the recorder's
// writer nor with the reader.
//
// Events go to the thread and the time that were set last: At() and Thread(). Interning calls return the id.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "analyzer/read/testing/compact_encoder.h"
#include "trace.pb.h"

namespace oomtrace::testing {

inline constexpr int kFloat32 = 6;  // c10::ScalarType
inline constexpr int kInt64 = 4;
inline constexpr int kBFloat16 = 15;

struct FrameSpec {
  std::string file;
  std::string function;
  uint32_t line = 0;
};

struct ContextSpec {
  bool grad_mode = true;
  bool inference_mode = false;
  bool backward = false;
  std::string node = "";
  uint32_t forward_stack = 0;
};

struct Tag {  // what an allocation refers to
  uint32_t stack = 0;
  uint32_t layout = 0;
  uint32_t context = 0;
};

enum class Kind : uint16_t { kPermanent = 1, kEvents = 2, kFold = 3 };

class TraceBuilder {
 public:
  TraceBuilder();

  // Nanoseconds since the start of the trace; may not run backwards on one thread.
  TraceBuilder& At(int64_t ns);
  int64_t now() const { return now_; }
  TraceBuilder& Thread(uint32_t id);
  // Later events of this thread go to a chunk of this kind. Closes the open one. What fold chunks hold is a generation
  // of its own that counts; in the file's other chunks, events up to the last in them do not.
  TraceBuilder& EventsIn(Kind kind);
  // Closes the thread's open chunk, sealed, so that the next event begins another.
  TraceBuilder& Seal();

  // Later allocations and frees are written in the compact form; `sites`: whether they refer to sites, or spell
  // everything out.
  TraceBuilder& Compact(bool sites = true);

  // Interned data. The same value gives the same id.
  uint32_t String(std::string_view value);
  uint32_t Frame(const FrameSpec& frame);
  uint32_t Stack(const std::vector<FrameSpec>& frames, uint64_t module = 0, uint64_t root_module = 0);
  uint32_t Layout(const std::vector<int64_t>& size, int dtype);
  uint32_t Context(const ContextSpec& context);
  uint32_t Library(const std::string& path);
  void Module(uint64_t identity, uint64_t root, std::string_view path, std::string_view type);
  void Optimizer(uint64_t identity, std::string_view type, uint64_t parameter_bytes, uint64_t parameter_count);
  void Device(uint32_t index, const std::string& name, uint64_t total);
  void Process(const trace::Process& process);
  void Permanent(const trace::Chunk& one_record);

  // Events. Each advances the time by one microsecond afterwards.
  void Alloc(uint64_t address, uint64_t bytes, const Tag& tag, uint32_t device = 0);
  void Free(uint64_t address, uint32_t device = 0);
  void DeviceAlloc(uint64_t address, uint64_t bytes, uint32_t library, std::string_view api, uint32_t device = 0,
                   uint32_t result = 0);
  void DeviceFree(uint64_t address, uint32_t library, std::string_view api, uint32_t device = 0);
  void MemoryInfo(uint64_t free, uint64_t total, uint32_t device = 0);
  void Phase(trace::Phase::Kind kind, uint64_t object = 0);
  void HostCopy(uint64_t address, uint64_t bytes, uint32_t device = 0);
  void OutOfMemory(trace::OutOfMemory event);  // its ticks are set here
  void Role(trace::TensorRole::Role role, uint64_t address, uint64_t bytes, std::string_view name, uint64_t owner,
            uint32_t device = 0);
  void GpuProcesses(trace::GpuProcesses event);  // its ticks are set here
  void Holder(uint64_t address, std::string_view path);
  // The peak is now, the end of the span `end` nanoseconds later.
  void FoldedSteps(int64_t end, uint64_t peak, uint64_t reserved, uint64_t live, uint32_t steps, uint32_t device = 0);
  void Exit(int32_t status);

  // What the next TensorAlloc and TensorFree say; by default the highest bytes live so far, as an allocator that
  // never returns memory.
  void Reserved(uint64_t bytes, uint32_t device = 0);

  // Header counters and state, before Finish.
  void Dropped(uint64_t events) { dropped_ = events; }
  void Recycled(uint64_t chunks) { recycled_ = chunks; }
  void State(uint32_t state, std::string reason = "");

  // The file. Chunks that are still open are left unsealed, as after a kill, unless `seal_all`.
  std::string Finish(bool seal_all = false) const;

 private:
  struct ChunkData {
    Kind kind = Kind::kEvents;
    uint32_t thread = 0;
    uint64_t sequence = 0;
    uint64_t base_ticks = 0;
    uint64_t base_ns = 0;
    bool sealed = false;
    std::string payload;
    uint64_t last_ticks = 0;
    uint64_t last_block = 0;
    std::map<uint32_t, uint64_t> reserved;
    CompactEncoder compact;
    std::string run;  // compact events that are not in the payload yet
  };
  struct Memory {
    std::map<uint64_t, uint64_t> live;
    uint64_t allocated = 0;
    uint64_t reserved = 0;
  };

  ChunkData& OpenChunk();
  ChunkData& AddChunk(Kind kind);
  uint64_t TickDelta(ChunkData& chunk);
  int64_t BlockDelta(ChunkData& chunk, uint64_t address);
  void Emit(ChunkData& chunk, const trace::Chunk& record);
  static void EndRun(ChunkData& chunk);
  uint64_t CompactTime(ChunkData& chunk);
  bool ReservedChanged(ChunkData& chunk, uint32_t device);
  uint32_t Site(uint64_t bytes, const Tag& tag, uint32_t device);
  void CompactAlloc(uint64_t address, uint64_t bytes, const Tag& tag, uint32_t device);
  void CompactFree(uint64_t address, uint32_t device);
  uint32_t Intern(const std::string& key, bool* fresh);

  int64_t now_ = 0;
  uint32_t thread_ = 1;
  uint64_t next_sequence_ = 1;
  std::vector<ChunkData> chunks_;
  std::map<uint32_t, size_t> open_;  // chunk by thread
  std::map<uint32_t, Kind> kind_;    // of a thread's next chunk
  size_t permanent_ = SIZE_MAX;
  std::map<std::string, uint32_t> interned_;
  std::map<char, uint32_t> next_id_;
  std::map<uint32_t, Memory> memory_;
  bool compact_ = false;
  bool sites_ = true;
  uint64_t dropped_ = 0;
  uint64_t recycled_ = 0;
  uint32_t state_ = 2;
  std::string reason_;
};

}  // namespace oomtrace::testing
