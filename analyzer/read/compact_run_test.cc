#include "analyzer/read/compact_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "analyzer/read/testing/compact_encoder.h"
#include "analyzer/read/testing/trace_builder.h"
#include "analyzer/read/trace_reader.h"

namespace oomtrace {
namespace {

using oomtrace::testing::Tag;
using oomtrace::testing::TraceBuilder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kBase = 0x7f2000000000;

using Seen = std::tuple<std::string, int64_t, uint64_t, int64_t, uint32_t, uint32_t, uint32_t, int32_t, int64_t>;

class Recorder : public EventSink {
 public:
  void OnTensorAlloc(const TensorAllocEvent& event) override {
    seen.emplace_back("alloc", event.time, event.address, event.bytes, event.stack, event.layout, event.context,
                      event.device, event.reserved);
  }
  void OnTensorFree(const TensorFreeEvent& event) override {
    seen.emplace_back("free", event.time, event.address, 0, 0, 0, 0, event.device, event.reserved);
  }
  void OnHostCopy(const HostCopyEvent& event) override {
    seen.emplace_back("copy", event.time, event.address, event.bytes, 0, 0, 0, event.device, 0);
  }
  std::vector<Seen> seen;
};

std::vector<Seen> MustRead(const std::string& file, std::vector<std::string>* damage) {
  auto reader = TraceReader::FromBytes(file, "t.oomtrace");
  EXPECT_TRUE(reader.ok()) << reader.status();
  Recorder recorder;
  (*reader)->ReadEvents(&recorder);
  *damage = (*reader)->damage();
  return recorder.seen;
}

// Allocations and frees on two threads and two devices, with records of other kinds in between. More addresses than
// slots, so that blocks push each other out.
std::string Job(TraceBuilder builder, bool seal) {
  std::mt19937 random(3);
  std::vector<Tag> tags;
  for (int i = 0; i < 40; ++i) {
    tags.push_back({builder.Stack({{"train.py", "main", static_cast<uint32_t>(i)}}),
                    builder.Layout({i + 1, 8}, testing::kBFloat16), builder.Context({.grad_mode = i % 2 == 0})});
  }
  std::map<uint64_t, uint32_t> live;
  for (int i = 0; i < 30000; ++i) {
    const uint64_t address = kBase + random() % 12000 * 512;
    builder.Thread(random() % 9 == 0 ? 2 : 1);
    if (const auto found = live.find(address); found != live.end()) {
      builder.Free(address, found->second);
      live.erase(found);
    } else {
      const uint32_t device = random() % 2, tag = random() % 40;
      builder.Alloc(address, 512 * (tag + 1), tags[tag], device);
      live[address] = device;
    }
    if (i % 1000 == 0) builder.HostCopy(address, 100, 1);
  }
  return builder.Finish(seal);
}

TEST(CompactRunTest, SaysTheSameAsTheLongForm) {
  std::vector<std::string> damage;
  const std::vector<Seen> expected = MustRead(Job(TraceBuilder(), true), &damage);
  EXPECT_THAT(damage, IsEmpty());
  EXPECT_EQ(expected.size(), 30030u);
  for (const bool seal : {true, false}) {
    for (const bool sites : {true, false}) {
      const std::vector<Seen> seen = MustRead(Job(TraceBuilder().Compact(sites), seal), &damage);
      EXPECT_THAT(damage, IsEmpty());
      EXPECT_EQ(seen, expected) << seal << sites;
    }
  }
}

TEST(CompactRunTest, AnEventThatIsCutOffIsDamage) {
  TraceBuilder builder;
  builder.Compact();
  builder.Alloc(kBase, 512, {});
  builder.Alloc(kBase + 1024, 512, {});
  std::string file = builder.Finish();
  const size_t chunk = kFileHeaderSize + kChunkSize;  // the first holds the sites
  file[chunk + 36] = static_cast<char>(file[chunk + 36] - 1);
  std::vector<std::string> damage;
  EXPECT_EQ(MustRead(file, &damage).size(), 1u);
  EXPECT_THAT(damage, ElementsAre(HasSubstr("does not decode")));
}

TEST(CompactRunTest, ASiteThatIsNotThereLosesItsSizeOnly) {
  TraceBuilder builder;
  builder.Compact();
  builder.Alloc(kBase, 512, {});
  builder.Free(kBase);
  std::string file = builder.Finish();
  file[kFileHeaderSize + kChunkHeaderSize + 4] = 99;  // behind tag (two bytes), length and the tag of the id
  std::vector<std::string> damage;
  const std::vector<Seen> seen = MustRead(file, &damage);
  EXPECT_EQ(seen.size(), 2u);
  EXPECT_EQ(std::get<2>(seen[0]), kBase);
  EXPECT_THAT(damage, ElementsAre(HasSubstr("1 allocations refer to sites that are not in the file")));
}

TEST(CompactRunTest, UnknownKindsAndSlotsAreDamage) {
  const SiteTable sites;
  for (const std::string& bytes :
       {std::string("\x06\x01", 2), std::string("\x07", 1), std::string("\x02\xff\x7f", 3)}) {
    CompactRun run(&sites);
    run.Begin(bytes);
    uint64_t ticks = 0;
    Record record;
    EXPECT_EQ(run.Next(&ticks, &record), CompactRun::Outcome::kUndecodable);
  }
}

}  // namespace
}  // namespace oomtrace
