#include "interpose/record/proto_writer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "interpose/record/wire.h"
#include "trace.pb.h"

namespace oomtrace {
namespace {

std::string Bytes(const ProtoWriter& writer, const std::vector<uint8_t>& buffer) {
  return std::string(reinterpret_cast<const char*>(buffer.data()),
                     static_cast<size_t>(writer.position() - buffer.data()));
}

// Numbers of every magnitude: uniform bits would never be small.
uint64_t Magnitude(std::mt19937_64& random) { return random() >> (random() % 65 == 64 ? 63 : random() % 64); }

TEST(ProtoWriter, WritesWhatLibprotobufWrites) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 5000; ++round) {
    trace::TensorRole role;
    role.set_ticks(Magnitude(random));
    role.set_block(static_cast<int64_t>(Magnitude(random)) * (round % 2 ? 1 : -1));
    role.set_bytes(round % 3 ? Magnitude(random) : 0);
    role.set_role(static_cast<trace::TensorRole::Role>(round % 5));
    role.set_owner(Magnitude(random));
    trace::Chunk expected;
    *expected.add_tensor_role() = role;

    std::vector<uint8_t> buffer(512);
    ProtoWriter writer(buffer.data(), buffer.size());
    uint8_t* message = writer.Begin(wire::kTensorRole);
    writer.Uint(1, role.ticks());
    writer.Sint(2, role.block());
    writer.Uint(3, role.bytes());
    writer.Uint(4, role.role());
    writer.Uint(6, role.owner());
    writer.End(message);
    ASSERT_TRUE(writer.ok());
    ASSERT_EQ(Bytes(writer, buffer), expected.SerializeAsString());
  }
}

TEST(ProtoWriter, LongMessagesGetLongLengths) {
  std::mt19937_64 random(11);
  for (size_t size : {0u, 1u, 125u, 126u, 127u, 128u, 129u, 5000u, 16382u, 16383u, 16384u, 30000u}) {
    trace::Chunk expected;
    trace::Process* process = expected.add_process();
    process->set_host(std::string(size, 'h'));
    process->add_argument("");
    process->add_argument("--flag");
    process->set_simulated(true);

    std::vector<uint8_t> buffer(size + 64);
    ProtoWriter writer(buffer.data(), buffer.size());
    uint8_t* message = writer.Begin(wire::kProcess);
    writer.Bytes(3, process->host().data(), size);
    writer.RepeatedBytes(5, "", 0);
    writer.RepeatedBytes(5, "--flag", 6);
    writer.Bool(12, true);
    writer.End(message);
    ASSERT_TRUE(writer.ok());
    EXPECT_EQ(Bytes(writer, buffer), expected.SerializeAsString());
  }
}

TEST(ProtoWriter, PackedNegativeNumbers) {
  trace::Chunk expected;
  trace::Layout* layout = expected.add_layout();
  for (int64_t size : {int64_t{3}, int64_t{0}, int64_t{-1}, int64_t{1} << 40}) layout->add_size(size);

  std::vector<uint8_t> buffer(512);
  ProtoWriter writer(buffer.data(), buffer.size());
  uint8_t* message = writer.Begin(wire::kLayout);
  uint8_t* list = writer.Begin(2);
  for (int64_t size : layout->size()) writer.Packed(static_cast<uint64_t>(size));
  writer.End(list);
  writer.End(message);
  EXPECT_EQ(Bytes(writer, buffer), expected.SerializeAsString());
}

TEST(ProtoWriter, NeverWritesBeyondItsBuffer) {
  for (size_t capacity = 0; capacity < 40; ++capacity) {
    std::vector<uint8_t> buffer(512, 0xee);
    ProtoWriter writer(buffer.data(), capacity);
    uint8_t* message = writer.Begin(wire::kDevice);
    writer.Uint(3, ~uint64_t{0});
    writer.Text(2, "a device with a name");
    writer.End(message);
    EXPECT_EQ(writer.ok(), capacity >= 2 + 1 + 11 + 22) << capacity;  // tag, length, total, name
    for (size_t i = capacity; i < buffer.size(); ++i) ASSERT_EQ(buffer[i], 0xee) << capacity;
  }
}

TEST(Wire, NumbersAreThoseOfTheProto) {
  const auto* chunk = trace::Chunk::descriptor();
  const std::pair<const char*, uint32_t> fields[] = {
      {"tensor_alloc", wire::kTensorAlloc},
      {"tensor_free", wire::kTensorFree},
      {"device_alloc", wire::kDeviceAlloc},
      {"device_free", wire::kDeviceFree},
      {"memory_info", wire::kMemoryInfo},
      {"phase", wire::kPhase},
      {"host_copy", wire::kHostCopy},
      {"out_of_memory", wire::kOutOfMemory},
      {"tensor_role", wire::kTensorRole},
      {"gpu_processes", wire::kGpuProcesses},
      {"holder", wire::kHolder},
      {"exit", wire::kExit},
      {"compact", wire::kCompact},
      {"collector_state", wire::kCollectorState},
      {"gpu_activity", wire::kGpuActivity},
      {"launch", wire::kLaunch},
      {"cupti_memory", wire::kCuptiMemory},
      {"collector_clock", wire::kCollectorClock},
      {"gpu_resource", wire::kGpuResource},
      {"correlation", wire::kCorrelation},
      {"nvtx_range", wire::kNvtxRange},
      {"string", wire::kString},
      {"frame", wire::kFrame},
      {"stack", wire::kStack},
      {"layout", wire::kLayout},
      {"context", wire::kContext},
      {"module", wire::kModule},
      {"optimizer", wire::kOptimizer},
      {"library", wire::kLibrary},
      {"process", wire::kProcess},
      {"device", wire::kDevice},
      {"hook", wire::kHook},
      {"note", wire::kNote},
      {"site", wire::kSite},
      {"folded_steps", wire::kFoldedSteps},
      {"unknown_route", wire::kUnknownRoute},
      {"system", wire::kSystem},
      {"native_callers", wire::kNativeCallers},
      {"refusal_text", wire::kRefusalText},
      {"private_segment", wire::kPrivateSegment},
      {"folded_calls", wire::kFoldedCalls},
      {"thread_failed", wire::kThreadFailed},
      {"thread_name", wire::kThreadName},
      {"thread_change", wire::kThreadChange},
      {"model_move", wire::kModelMove},
  };
  for (const auto& [name, number] : fields) {
    ASSERT_NE(chunk->FindFieldByName(name), nullptr) << name;
    EXPECT_EQ(chunk->FindFieldByName(name)->number(), static_cast<int>(number)) << name;
  }
  EXPECT_EQ(chunk->field_count(), static_cast<int>(std::size(fields)));
}

}  // namespace
}  // namespace oomtrace
