// The first 4096 bytes of a trace: docs/trace-format.md, "Header".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "analyzer/read/damage_log.h"

namespace oomtrace {

inline constexpr std::string_view kTraceMagic = "OOMTRACE";  // the first bytes
inline constexpr uint32_t kFormatVersion = 1;
inline constexpr uint64_t kFileHeaderSize = 4096;
inline constexpr uint64_t kChunkSize = 65536;  // chunk header included
inline constexpr uint64_t kChunkHeaderSize = 64;
inline constexpr uint64_t kMaxPayload = kChunkSize - kChunkHeaderSize;

enum class RecorderState : uint32_t { kOff = 0, kArmed = 1, kRecording = 2, kDisabled = 3 };

struct FileHeader {
  uint64_t budget_chunks = 0;
  uint64_t reserved_chunks = 0;
  uint32_t state = 0;  // RecorderState, or a number that this version does not know
  uint32_t pid = 0;
  uint64_t start_unix_ns = 0;
  uint64_t start_ticks = 0;
  uint64_t start_monotonic_ns = 0;
  uint64_t events_dropped = 0;
  uint64_t chunks_recycled = 0;
  uint64_t events_folded = 0;
  uint64_t device_calls_unhooked = 0;
  uint64_t stacks_missed = 0;
  uint32_t fold_generation = 0;  // of the fold chunks that count; 0: nothing was folded
  uint64_t fold_horizon = 0;     // ticks: events up to then are in fold chunks
  uint64_t exit_ticks = 0;       // when _exit() was called, 0: it was not
  int32_t exit_status = 0;       // as given to it
  std::string disabled_reason;
};

// "off", "armed", "recording", "disabled: REASON".
std::string RecorderStateText(const FileHeader& header);

// Reads the header of the trace whose bytes begin with `file`; `name` is used in messages.
// - DataLoss: empty, or shorter than a header.
// - InvalidArgument: not a trace, or a format version that this reader does not know.
// What is wrong but does not matter (a flipped bit in a size that version 1 fixes) is appended to `damage`.
absl::StatusOr<FileHeader> ParseFileHeader(std::string_view file, const std::string& name, DamageLog* damage);

}  // namespace oomtrace
