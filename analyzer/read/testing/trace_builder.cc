#include "analyzer/read/testing/trace_builder.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "analyzer/read/bytes.h"
#include "analyzer/read/chunk_list.h"
#include "analyzer/read/crc32c.h"

namespace oomtrace::testing {
namespace {

constexpr uint64_t kStartTicks = 7'000'000'000;
constexpr uint64_t kStartMonotonic = 5'000'000'000;
constexpr uint64_t kTicksPerNs = 2;
constexpr int64_t kEventGap = 1000;
constexpr uint32_t kGeneration = 1;  // of the fold chunks

template <typename Integer>
void Store(std::string* bytes, size_t offset, Integer value) {
  std::memcpy(bytes->data() + offset, &value, sizeof(value));
}

uint64_t ToTicks(int64_t ns) { return kStartTicks + static_cast<uint64_t>(ns) * kTicksPerNs; }

}  // namespace

TraceBuilder::TraceBuilder() = default;

TraceBuilder& TraceBuilder::At(int64_t ns) {
  now_ = ns;
  return *this;
}

TraceBuilder& TraceBuilder::Thread(uint32_t id) {
  thread_ = id;
  return *this;
}

TraceBuilder& TraceBuilder::EventsIn(Kind kind) {
  Seal();
  kind_[thread_] = kind;
  return *this;
}

TraceBuilder& TraceBuilder::Compact(bool sites) {
  compact_ = true;
  sites_ = sites;
  return *this;
}

TraceBuilder& TraceBuilder::Seal() {
  const auto open = open_.find(thread_);
  if (open != open_.end()) {
    EndRun(chunks_[open->second]);
    chunks_[open->second].sealed = true;
    open_.erase(open);
  }
  return *this;
}

TraceBuilder::ChunkData& TraceBuilder::AddChunk(Kind kind) {
  ChunkData chunk;
  chunk.kind = kind;
  chunk.thread = thread_;
  chunk.sequence = next_sequence_++;
  chunk.base_ticks = chunk.last_ticks = ToTicks(now_);
  chunk.base_ns = kStartMonotonic + static_cast<uint64_t>(now_);
  chunks_.push_back(chunk);
  return chunks_.back();
}

TraceBuilder::ChunkData& TraceBuilder::OpenChunk() {
  constexpr size_t kRoomForOne = 512;  // no event of a test is longer
  const auto open = open_.find(thread_);
  if (open != open_.end() &&
      chunks_[open->second].payload.size() + chunks_[open->second].run.size() + kRoomForOne > kMaxPayload)
    Seal();
  if (const auto still = open_.find(thread_); still != open_.end()) return chunks_[still->second];
  const auto kind = kind_.find(thread_);
  ChunkData& chunk = AddChunk(kind == kind_.end() ? Kind::kEvents : kind->second);
  open_[thread_] = chunks_.size() - 1;
  return chunk;
}

uint64_t TraceBuilder::TickDelta(ChunkData& chunk) {
  const uint64_t ticks = ToTicks(now_);
  const uint64_t delta = ticks - chunk.last_ticks;
  chunk.last_ticks = ticks;
  return delta;
}

int64_t TraceBuilder::BlockDelta(ChunkData& chunk, uint64_t address) {
  const uint64_t block = std::rotr(address, 9);
  const int64_t delta = static_cast<int64_t>(block - chunk.last_block);
  chunk.last_block = block;
  return delta;
}

void TraceBuilder::EndRun(ChunkData& chunk) {
  if (chunk.run.empty()) return;
  chunk.payload += CompactHeader(chunk.payload.size(), chunk.run.size()) + chunk.run;
  chunk.run.clear();
}

uint64_t TraceBuilder::CompactTime(ChunkData& chunk) {
  constexpr uint64_t kUnit = 16;  // ticks
  const uint64_t time = (ToTicks(now_) - chunk.last_ticks) / kUnit;
  chunk.last_ticks += time * kUnit;
  return time;
}

bool TraceBuilder::ReservedChanged(ChunkData& chunk, uint32_t device) {
  const uint64_t reserved = memory_[device].reserved;
  const auto [known, first] = chunk.reserved.try_emplace(device, reserved);
  const bool changed = first || known->second != reserved;
  known->second = reserved;
  return changed;
}

uint32_t TraceBuilder::Site(uint64_t bytes, const Tag& tag, uint32_t device) {
  bool fresh;
  const uint32_t id =
      Intern(absl::StrCat("i", bytes, "/", tag.stack, "/", tag.layout, "/", tag.context, "/", device), &fresh);
  if (!fresh) return id;
  trace::Chunk record;
  trace::Site* message = record.add_site();
  message->set_id(id);
  message->set_bytes(bytes);
  message->set_stack(tag.stack);
  message->set_layout(tag.layout);
  message->set_context(tag.context);
  message->set_device(device);
  Permanent(record);
  return id;
}

void TraceBuilder::CompactAlloc(uint64_t address, uint64_t bytes, const Tag& tag, uint32_t device) {
  const uint32_t site = sites_ ? Site(bytes, tag, device) : 0;  // before the chunk is opened: it may add one
  ChunkData& chunk = OpenChunk();
  uint64_t time = CompactTime(chunk);
  if (ReservedChanged(chunk, device)) {
    chunk.compact.Reserved(&chunk.run, time, device, memory_[device].reserved);
    time = 0;
  }
  if (sites_) {
    chunk.compact.Alloc(&chunk.run, time, address, site, device);
  } else {
    chunk.compact.AllocWithoutSite(&chunk.run, time, address, bytes, tag.stack, tag.layout, tag.context, device);
  }
  now_ += kEventGap;
}

void TraceBuilder::CompactFree(uint64_t address, uint32_t device) {
  ChunkData& chunk = OpenChunk();
  uint64_t time = CompactTime(chunk);
  if (ReservedChanged(chunk, device)) {
    chunk.compact.Reserved(&chunk.run, time, device, memory_[device].reserved);
    time = 0;
  }
  chunk.compact.Free(&chunk.run, time, address, device);
  now_ += kEventGap;
}

void TraceBuilder::Emit(ChunkData& chunk, const trace::Chunk& record) {
  EndRun(chunk);
  chunk.payload += record.SerializeAsString();
  now_ += kEventGap;
}

uint32_t TraceBuilder::Intern(const std::string& key, bool* fresh) {
  const auto [entry, added] = interned_.try_emplace(key, 0);
  if (added) entry->second = ++next_id_[key.front()];
  *fresh = added;
  return entry->second;
}

void TraceBuilder::Permanent(const trace::Chunk& one_record) {
  const std::string bytes = one_record.SerializeAsString();
  if (permanent_ != SIZE_MAX && chunks_[permanent_].payload.size() + bytes.size() > kMaxPayload) {
    chunks_[permanent_].sealed = true;
    permanent_ = SIZE_MAX;
  }
  if (permanent_ == SIZE_MAX) {
    AddChunk(Kind::kPermanent);
    permanent_ = chunks_.size() - 1;
  }
  chunks_[permanent_].payload += bytes;
}

uint32_t TraceBuilder::String(std::string_view value) {
  if (value.empty()) return 0;
  bool fresh;
  const uint32_t id = Intern(absl::StrCat("s", std::string(value)), &fresh);
  if (fresh) {
    trace::Chunk record;
    record.add_string()->set_id(id);
    record.mutable_string(0)->set_value(std::string(value));
    Permanent(record);
  }
  return id;
}

uint32_t TraceBuilder::Frame(const FrameSpec& frame) {
  bool fresh;
  const uint32_t id = Intern(absl::StrCat("f", frame.file, "\n", frame.function, "\n", frame.line), &fresh);
  if (fresh) {
    trace::Chunk record;
    trace::Frame* message = record.add_frame();
    message->set_id(id);
    message->set_file(String(frame.file));
    message->set_function(String(frame.function));
    message->set_line(frame.line);
    Permanent(record);
  }
  return id;
}

uint32_t TraceBuilder::Stack(const std::vector<FrameSpec>& frames, uint64_t module, uint64_t root_module) {
  std::vector<uint32_t> ids;
  for (const FrameSpec& frame : frames) ids.push_back(Frame(frame));
  bool fresh;
  const uint32_t id = Intern(absl::StrCat("k", absl::StrJoin(ids, ","), "/", module, "/", root_module), &fresh);
  if (fresh) {
    trace::Chunk record;
    trace::Stack* message = record.add_stack();
    message->set_id(id);
    message->mutable_frame()->Add(ids.begin(), ids.end());
    message->set_module(module);
    message->set_root_module(root_module);
    Permanent(record);
  }
  return id;
}

uint32_t TraceBuilder::Layout(const std::vector<int64_t>& size, int dtype) {
  bool fresh;
  const uint32_t id = Intern(absl::StrCat("l", absl::StrJoin(size, ","), "/", dtype), &fresh);
  if (fresh) {
    trace::Chunk record;
    trace::Layout* message = record.add_layout();
    message->set_id(id);
    message->mutable_size()->Add(size.begin(), size.end());
    message->set_dtype(dtype);
    Permanent(record);
  }
  return id;
}

uint32_t TraceBuilder::Context(const ContextSpec& context) {
  bool fresh;
  const uint32_t id = Intern(absl::StrCat("c", context.grad_mode, context.inference_mode, context.backward,
                                          context.node, "/", context.forward_stack),
                             &fresh);
  if (fresh) {
    trace::Chunk record;
    trace::Context* message = record.add_context();
    message->set_id(id);
    message->set_grad_mode(context.grad_mode);
    message->set_inference_mode(context.inference_mode);
    message->set_backward(context.backward);
    message->set_node(String(context.node));
    message->set_forward_stack(context.forward_stack);
    Permanent(record);
  }
  return id;
}

uint32_t TraceBuilder::Library(const std::string& path) {
  bool fresh;
  const uint32_t id = Intern(absl::StrCat("b", path), &fresh);
  if (fresh) {
    trace::Chunk record;
    record.add_library()->set_id(id);
    record.mutable_library(0)->set_path(path);
    Permanent(record);
  }
  return id;
}

void TraceBuilder::Module(uint64_t identity, uint64_t root, std::string_view path, std::string_view type) {
  trace::Chunk record;
  trace::Module* message = record.add_module();
  message->set_identity(identity);
  message->set_root(root);
  message->set_path(String(path));
  message->set_type(String(type));
  Permanent(record);
}

void TraceBuilder::Optimizer(uint64_t identity, std::string_view type, uint64_t parameter_bytes,
                             uint64_t parameter_count) {
  trace::Chunk record;
  trace::Optimizer* message = record.add_optimizer();
  message->set_identity(identity);
  message->set_type(String(type));
  message->set_parameter_bytes(parameter_bytes);
  message->set_parameter_count(parameter_count);
  Permanent(record);
}

void TraceBuilder::Device(uint32_t index, const std::string& name, uint64_t total) {
  trace::Chunk record;
  trace::Device* message = record.add_device();
  message->set_index(index);
  message->set_name(name);
  message->set_total(total);
  Permanent(record);
}

void TraceBuilder::Process(const trace::Process& process) {
  trace::Chunk record;
  *record.add_process() = process;
  Permanent(record);
}

void TraceBuilder::Reserved(uint64_t bytes, uint32_t device) { memory_[device].reserved = bytes; }

void TraceBuilder::Alloc(uint64_t address, uint64_t bytes, const Tag& tag, uint32_t device) {
  Memory& memory = memory_[device];
  memory.live[address] = bytes;
  memory.allocated += bytes;
  memory.reserved = std::max(memory.reserved, memory.allocated);
  if (compact_) return CompactAlloc(address, bytes, tag, device);
  ChunkData& chunk = OpenChunk();
  trace::Chunk record;
  trace::TensorAlloc* event = record.add_tensor_alloc();
  event->set_ticks(TickDelta(chunk));
  event->set_block(BlockDelta(chunk, address));
  event->set_bytes(bytes);
  event->set_stack(tag.stack);
  event->set_layout(tag.layout);
  event->set_context(tag.context);
  event->set_device(device);
  if (ReservedChanged(chunk, device)) event->set_reserved(memory.reserved);
  Emit(chunk, record);
}

void TraceBuilder::Free(uint64_t address, uint32_t device) {
  Memory& memory = memory_[device];
  const auto live = memory.live.find(address);
  const uint64_t bytes = live == memory.live.end() ? 0 : live->second;
  if (live != memory.live.end()) memory.live.erase(live);
  memory.allocated -= bytes;
  if (compact_) return CompactFree(address, device);
  ChunkData& chunk = OpenChunk();
  trace::Chunk record;
  trace::TensorFree* event = record.add_tensor_free();
  event->set_ticks(TickDelta(chunk));
  event->set_block(BlockDelta(chunk, address));
  event->set_bytes(bytes);
  event->set_device(device);
  if (ReservedChanged(chunk, device)) event->set_reserved(memory.reserved);
  Emit(chunk, record);
}

void TraceBuilder::DeviceAlloc(uint64_t address, uint64_t bytes, uint32_t library, std::string_view api,
                               uint32_t device, uint32_t result) {
  const uint32_t api_id = String(api);  // before the chunk is opened: interning may add a chunk
  ChunkData& chunk = OpenChunk();
  trace::Chunk record;
  trace::DeviceAlloc* event = record.add_device_alloc();
  event->set_ticks(TickDelta(chunk));
  event->set_block(BlockDelta(chunk, address));
  event->set_bytes(bytes);
  event->set_library(library);
  event->set_api(api_id);
  event->set_device(device);
  event->set_result(result);
  Emit(chunk, record);
}

void TraceBuilder::DeviceFree(uint64_t address, uint32_t library, std::string_view api, uint32_t device) {
  const uint32_t api_id = String(api);
  ChunkData& chunk = OpenChunk();
  trace::Chunk record;
  trace::DeviceFree* event = record.add_device_free();
  event->set_ticks(TickDelta(chunk));
  event->set_block(BlockDelta(chunk, address));
  event->set_library(library);
  event->set_api(api_id);
  event->set_device(device);
  Emit(chunk, record);
}

void TraceBuilder::MemoryInfo(uint64_t free, uint64_t total, uint32_t device) {
  ChunkData& chunk = OpenChunk();
  trace::Chunk record;
  trace::MemoryInfo* event = record.add_memory_info();
  event->set_ticks(TickDelta(chunk));
  event->set_device(device);
  event->set_free(free);
  event->set_total(total);
  Emit(chunk, record);
}

void TraceBuilder::Phase(trace::Phase::Kind kind, uint64_t object) {
  ChunkData& chunk = OpenChunk();
  trace::Chunk record;
  trace::Phase* event = record.add_phase();
  event->set_ticks(TickDelta(chunk));
  event->set_kind(kind);
  event->set_object(object);
  Emit(chunk, record);
}

void TraceBuilder::HostCopy(uint64_t address, uint64_t bytes, uint32_t device) {
  ChunkData& chunk = OpenChunk();
  trace::Chunk record;
  trace::HostCopy* event = record.add_host_copy();
  event->set_ticks(TickDelta(chunk));
  event->set_block(BlockDelta(chunk, address));
  event->set_bytes(bytes);
  event->set_device(device);
  Emit(chunk, record);
}

void TraceBuilder::OutOfMemory(trace::OutOfMemory event) {
  ChunkData& chunk = OpenChunk();
  event.set_ticks(TickDelta(chunk));
  trace::Chunk record;
  *record.add_out_of_memory() = event;
  Emit(chunk, record);
}

void TraceBuilder::Role(trace::TensorRole::Role role, uint64_t address, uint64_t bytes, std::string_view name,
                        uint64_t owner, uint32_t device) {
  const uint32_t name_id = String(name);
  ChunkData& chunk = OpenChunk();
  trace::Chunk record;
  trace::TensorRole* event = record.add_tensor_role();
  event->set_ticks(TickDelta(chunk));
  event->set_block(BlockDelta(chunk, address));
  event->set_bytes(bytes);
  event->set_role(role);
  event->set_name(name_id);
  event->set_owner(owner);
  event->set_device(device);
  Emit(chunk, record);
}

void TraceBuilder::GpuProcesses(trace::GpuProcesses event) {
  ChunkData& chunk = OpenChunk();
  event.set_ticks(TickDelta(chunk));
  trace::Chunk record;
  *record.add_gpu_processes() = event;
  Emit(chunk, record);
}

void TraceBuilder::Holder(uint64_t address, std::string_view path) {
  const uint32_t path_id = String(path);
  ChunkData& chunk = OpenChunk();
  trace::Chunk record;
  trace::Holder* event = record.add_holder();
  event->set_ticks(TickDelta(chunk));
  event->set_block(BlockDelta(chunk, address));
  event->set_path(path_id);
  Emit(chunk, record);
}

void TraceBuilder::FoldedSteps(int64_t end, uint64_t peak, uint64_t reserved, uint64_t live, uint32_t steps,
                               uint32_t device) {
  ChunkData& chunk = OpenChunk();
  trace::Chunk record;
  trace::FoldedSteps* event = record.add_folded_steps();
  event->set_ticks(TickDelta(chunk));
  event->set_peak(peak);
  event->set_reserved(reserved);
  event->set_live(live);
  event->set_end(static_cast<uint64_t>(end) * kTicksPerNs);
  event->set_steps(steps);
  event->set_device(device);
  Emit(chunk, record);
}

void TraceBuilder::Exit(int32_t status) {
  ChunkData& chunk = OpenChunk();
  trace::Chunk record;
  record.add_exit()->set_ticks(TickDelta(chunk));
  record.mutable_exit(0)->set_status(status);
  Emit(chunk, record);
}

void TraceBuilder::State(uint32_t state, std::string reason) {
  state_ = state;
  reason_ = std::move(reason);
}

std::string TraceBuilder::Finish(bool seal_all) const {
  std::string file(kFileHeaderSize + chunks_.size() * kChunkSize, '\0');
  file.replace(0, 8, "OOMTRACE");
  Store<uint32_t>(&file, 8, kFormatVersion);
  Store<uint32_t>(&file, 12, kFileHeaderSize);
  Store<uint32_t>(&file, 16, kChunkSize);
  Store<uint32_t>(&file, 20, kChunkHeaderSize);
  Store<uint64_t>(&file, 24, 8192);
  Store<uint64_t>(&file, 32, chunks_.size());
  Store<uint32_t>(&file, 40, state_);
  Store<uint32_t>(&file, 44, 4242);
  Store<uint64_t>(&file, 56, kStartTicks);
  Store<uint64_t>(&file, 64, kStartMonotonic);
  Store<uint64_t>(&file, 72, dropped_);
  Store<uint64_t>(&file, 80, recycled_);
  file.replace(256, std::min<size_t>(reason_.size(), 255), reason_, 0, 255);
  for (const ChunkData& chunk : chunks_) {
    if (chunk.kind != Kind::kFold) continue;
    Store<uint32_t>(&file, 112, kGeneration);
    Store<uint64_t>(&file, 128, std::max(LoadLittleEndian<uint64_t>(file, 128), chunk.last_ticks));
  }
  for (size_t i = 0; i < chunks_.size(); ++i) {
    ChunkData chunk = chunks_[i];
    if (chunk.sealed || seal_all) EndRun(chunk);
    if (!chunk.run.empty()) {  // open: its length reaches to the end of the chunk
      const size_t header = CompactHeader(chunk.payload.size(), 0).size();
      chunk.payload += CompactHeader(chunk.payload.size(), kMaxPayload - chunk.payload.size() - header) + chunk.run;
    }
    const size_t at = kFileHeaderSize + i * kChunkSize;
    Store<uint32_t>(&file, at, 0x4843544f);
    Store<uint16_t>(&file, at + 4, static_cast<uint16_t>(chunk.kind));
    Store<uint16_t>(&file, at + 6, chunk.sealed || seal_all ? 1 : 0);
    Store<uint64_t>(&file, at + 8, chunk.sequence);
    Store<uint64_t>(&file, at + 16, chunk.base_ticks);
    Store<uint64_t>(&file, at + 24, chunk.base_ns);
    Store<uint32_t>(&file, at + 32, chunk.thread);
    Store<uint32_t>(&file, at + 36, static_cast<uint32_t>(chunk.payload.size()));
    if (chunk.sealed || seal_all) Store<uint32_t>(&file, at + 40, Crc32c(chunk.payload));
    if (chunk.kind == Kind::kFold) Store<uint32_t>(&file, at + 44, kGeneration);
    file.replace(at + kChunkHeaderSize, chunk.payload.size(), chunk.payload);
  }
  return file;
}

}  // namespace oomtrace::testing
