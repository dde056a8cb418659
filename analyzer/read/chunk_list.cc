#include "analyzer/read/chunk_list.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "analyzer/read/bytes.h"
#include "analyzer/read/crc32c.h"

namespace oomtrace {
namespace {

constexpr uint32_t kChunkMagic = 0x4843544f;  // "OTCH"
constexpr uint16_t kSealed = 1;

bool KnownKind(uint16_t kind) { return kind >= 1 && kind <= 3; }

// A header that bears no magic but is otherwise that of a chunk in use: a bit of the magic was flipped.
bool LooksUsed(std::string_view bytes) {
  return KnownKind(LoadLittleEndian<uint16_t>(bytes, 4)) && LoadLittleEndian<uint64_t>(bytes, 8) > 0 &&
         LoadLittleEndian<uint64_t>(bytes, 24) > 0 && LoadLittleEndian<uint32_t>(bytes, 36) <= kMaxPayload;
}

// Sets which events count: docs/trace-format.md, "Folding". False where none does.
bool SetTimes(std::string_view bytes, const FileHeader& header, Chunk* chunk) {
  if (chunk->kind == ChunkKind::kEvents) chunk->after = header.fold_horizon;
  if (chunk->kind != ChunkKind::kFold) return true;
  const uint32_t generation = LoadLittleEndian<uint32_t>(bytes, 44);
  if (generation == 0) chunk->until = header.fold_horizon;
  return generation == 0 || generation == header.fold_generation;
}

// Reads the chunk whose bytes are `bytes` (at least a header). Returns false where it holds nothing to use.
bool ReadChunk(std::string_view bytes, uint64_t offset, const FileHeader& header, Chunk* chunk, DamageLog* damage) {
  const uint32_t magic = LoadLittleEndian<uint32_t>(bytes, 0);
  if (magic == 0) return false;
  if (magic != kChunkMagic) {
    const bool used = LooksUsed(bytes);
    damage->Add(absl::StrFormat("chunk at byte %d: magic is %#x, not %#x; %s", offset, magic, kChunkMagic,
                                used ? "read all the same" : "skipped"));
    if (!used) return false;
  }
  const uint16_t kind = LoadLittleEndian<uint16_t>(bytes, 4);
  if (!KnownKind(kind)) {
    damage->Add(absl::StrCat("chunk at byte ", offset, ": unknown kind ", kind, "; skipped"));
    return false;
  }
  chunk->offset = offset;
  chunk->kind = static_cast<ChunkKind>(kind);
  if (!SetTimes(bytes, header, chunk)) return false;
  chunk->sequence = LoadLittleEndian<uint64_t>(bytes, 8);
  chunk->base_ticks = LoadLittleEndian<uint64_t>(bytes, 16);
  chunk->base_monotonic_ns = LoadLittleEndian<uint64_t>(bytes, 24);
  chunk->thread = LoadLittleEndian<uint32_t>(bytes, 32);

  const uint32_t committed = LoadLittleEndian<uint32_t>(bytes, 36);
  const uint64_t room = bytes.size() - kChunkHeaderSize;
  chunk->payload = bytes.substr(kChunkHeaderSize, std::min<uint64_t>(committed, room));
  if (committed > kMaxPayload) {
    damage->Add(absl::StrCat("chunk at byte ", offset, ": ", committed, " bytes committed, a chunk holds ", kMaxPayload,
                             "; read as far as it decodes"));
  } else if (committed > room) {
    damage->Add(absl::StrCat("chunk at byte ", offset, ": the file ends ", committed - room,
                             " bytes before what was committed"));
  } else if ((LoadLittleEndian<uint16_t>(bytes, 6) & kSealed) != 0) {
    const uint32_t expected = LoadLittleEndian<uint32_t>(bytes, 40);
    const uint32_t found = Crc32c(chunk->payload);
    if (found != expected) {
      damage->Add(absl::StrFormat("chunk at byte %d: checksum is %#010x, expected %#010x; read as far as it decodes",
                                  offset, found, expected));
    }
  }
  return true;
}

void NoteTruncation(uint64_t size, const FileHeader& header, DamageLog* damage) {
  // A flipped bit in the count must not be read as a file that once was larger than its budget.
  if (header.reserved_chunks > header.budget_chunks) return;
  const uint64_t expected = kFileHeaderSize + header.reserved_chunks * kChunkSize;
  if (size < expected) {
    damage->Add(absl::StrCat("the file ends at byte ", size, " of ", expected, "; what follows is lost"));
  }
}

}  // namespace

std::vector<Chunk> ListChunks(std::string_view file, const FileHeader& header, DamageLog* damage) {
  NoteTruncation(file.size(), header, damage);
  std::vector<Chunk> chunks;
  for (uint64_t offset = kFileHeaderSize; offset + kChunkHeaderSize <= file.size(); offset += kChunkSize) {
    Chunk chunk;
    if (ReadChunk(file.substr(offset, kChunkSize), offset, header, &chunk, damage)) {
      chunks.push_back(chunk);
    }
  }
  std::stable_sort(chunks.begin(), chunks.end(),
                   [](const Chunk& a, const Chunk& b) { return a.sequence < b.sequence; });
  return chunks;
}

}  // namespace oomtrace
