#include "interpose/record/testing/read_back.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

namespace oomtrace::testing {
namespace {

bool HasBlock(uint32_t kind) {
  return kind == wire::kDeviceAlloc || kind == wire::kDeviceFree || kind == wire::kHostCopy ||
         kind == wire::kTensorRole || kind == wire::kHolder;
}

// Ticks and block stand under the same numbers in every event.
uint64_t Field(const WireReader& record, uint32_t number) {
  WireReader fields(record.bytes(), record.size());
  while (fields.Next())
    if (fields.field() == number && !fields.is_bytes()) return fields.value();
  return 0;
}

// Every event of the chunk, whether it counts or not.
std::vector<ReadEvent> ReadEvents(ChunkHeader* chunk, const SiteSize* sites) {
  std::vector<ReadEvent> events;
  BlockTable blocks;
  EXPECT_TRUE(blocks.Clear());
  CompactReader run(&blocks, sites);
  WireReader records(chunk->payload(), chunk->committed.load());
  uint64_t ticks = chunk->base_ticks, rotated = 0;
  size_t read = 0;
  while (records.Next()) {
    read = static_cast<size_t>(records.bytes() + records.size() - chunk->payload());
    if (records.field() == wire::kCompact) {
      run.Begin(records.bytes(), records.size());
      for (CompactEvent event; run.Next(&ticks, &event);)
        events.push_back({event.alloc ? wire::kTensorAlloc : wire::kTensorFree, ticks, event.address, event});
      continue;
    }
    ticks += Field(records, 1);
    ReadEvent event{records.field(), ticks};
    if (HasBlock(event.kind)) {
      rotated += static_cast<uint64_t>(WireReader::ZigZag(Field(records, 2)));
      event.address = BlockTable::Address(rotated);
    }
    event.message.assign(reinterpret_cast<const char*>(records.bytes()), records.size());
    events.push_back(event);
  }
  EXPECT_EQ(read, chunk->committed.load()) << "chunk " << chunk->sequence;
  blocks.Unmap();
  return events;
}

template <typename Visit>
void ForEachChunk(const std::filesystem::path& path, TraceHeader* header, Visit visit) {
  std::ifstream stream(path, std::ios::binary);
  stream.read(reinterpret_cast<char*>(header), sizeof(TraceHeader));
  alignas(ChunkHeader) static char bytes[kChunkSize];
  while (stream.read(bytes, kChunkSize)) {
    auto* chunk = reinterpret_cast<ChunkHeader*>(bytes);
    if (chunk->magic.load() == kChunkMagic) visit(chunk);
  }
}

}  // namespace

ReadTrace ReadBack(const std::filesystem::path& path) {
  ReadTrace trace;
  ForEachChunk(path, trace.header.get(), [&](ChunkHeader* chunk) {
    if (chunk->kind != static_cast<uint16_t>(ChunkKind::kPermanent)) return;
    trace::Chunk payload;
    EXPECT_TRUE(payload.ParseFromArray(chunk->payload(), static_cast<int>(chunk->committed.load())));
    trace.facts.MergeFrom(payload);
  });
  std::vector<SiteSize> sites(kMostSites);
  for (const auto& site : trace.facts.site()) sites.at(site.id()) = {site.bytes(), site.device()};
  ForEachChunk(path, trace.header.get(), [&](ChunkHeader* chunk) {
    if (chunk->kind == static_cast<uint16_t>(ChunkKind::kPermanent)) return;
    const uint32_t counts = trace.header->fold_generation.load();
    const uint64_t horizon = counts == 0 ? 0 : trace.header->fold_horizon[counts % 2].load();
    if (chunk->generation != 0 && chunk->generation != counts) return;
    std::vector<ReadEvent> events = ReadEvents(chunk, sites.data());
    const bool fold = chunk->kind == static_cast<uint16_t>(ChunkKind::kFold);
    std::erase_if(events,
                  [&](const ReadEvent& event) { return chunk->generation == 0 && (event.ticks <= horizon) != fold; });
    trace.chunks.push_back(std::move(events));
  });
  return trace;
}

std::vector<ReadEvent> ReadTrace::InOrderOfTime() const {
  std::vector<ReadEvent> events;
  for (const auto& chunk : chunks) events.insert(events.end(), chunk.begin(), chunk.end());
  std::stable_sort(events.begin(), events.end(), [](const auto& a, const auto& b) { return a.ticks < b.ticks; });
  return events;
}

size_t ReadTrace::Count(uint32_t kind) const {
  size_t count = 0;
  for (const auto& chunk : chunks)
    count += static_cast<size_t>(
        std::count_if(chunk.begin(), chunk.end(), [&](const ReadEvent& event) { return event.kind == kind; }));
  return count;
}

}  // namespace oomtrace::testing
