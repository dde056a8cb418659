#include "analyzer/read/file_header.h"

#include <algorithm>
#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "analyzer/read/bytes.h"

namespace oomtrace {
namespace {

constexpr size_t kReasonOffset = 256;
constexpr size_t kReasonSize = 256;

struct FixedField {
  size_t offset;
  uint32_t value;
  const char* what;
};
// What format version 1 fixes. They are stored so that another version can differ.
constexpr FixedField kFixedFields[] = {
    {12, kFileHeaderSize, "header size"}, {16, kChunkSize, "chunk size"}, {20, kChunkHeaderSize, "chunk header size"}};

int FixedFieldsThatHold(std::string_view file) {
  int count = 0;
  for (const FixedField& field : kFixedFields) count += LoadLittleEndian<uint32_t>(file, field.offset) == field.value;
  return count;
}

absl::Status TooShort(std::string_view file, const std::string& name) {
  if (file.empty()) {
    return absl::DataLossError(
        absl::StrCat(name, ": the file is empty (0 bytes); the recorder writes a header of ", kFileHeaderSize,
                     " bytes first. Was the disk full, or the copy cut short? Record again, or copy the trace again"));
  }
  return absl::DataLossError(absl::StrCat(name, ": ends at byte ", file.size(), ", inside the header of ",
                                          kFileHeaderSize,
                                          " bytes; nothing can be read. Copy the trace again, or record again"));
}

absl::Status Foreign(std::string_view file, const std::string& name) {
  return absl::InvalidArgumentError(absl::StrCat(
      name, ": not an oomtrace trace: at byte 0 expected \"OOMTRACE\", found \"",
      absl::CHexEscape(std::string(file.substr(0, kTraceMagic.size()))), "\". Give a file that ends in .oomtrace"));
}

absl::Status OtherVersion(uint32_t version, const std::string& name) {
  return absl::InvalidArgumentError(absl::StrCat(name, ": format version ", version, " at byte 8; this oomtrace reads ",
                                                 "version ", kFormatVersion,
                                                 ". Analyze it with the release that recorded it"));
}

FileHeader Load(std::string_view file) {
  FileHeader header;
  header.budget_chunks = LoadLittleEndian<uint64_t>(file, 24);
  header.reserved_chunks = LoadLittleEndian<uint64_t>(file, 32);
  header.state = LoadLittleEndian<uint32_t>(file, 40);
  header.pid = LoadLittleEndian<uint32_t>(file, 44);
  header.start_unix_ns = LoadLittleEndian<uint64_t>(file, 48);
  header.start_ticks = LoadLittleEndian<uint64_t>(file, 56);
  header.start_monotonic_ns = LoadLittleEndian<uint64_t>(file, 64);
  header.events_dropped = LoadLittleEndian<uint64_t>(file, 72);
  header.chunks_recycled = LoadLittleEndian<uint64_t>(file, 80);
  header.events_folded = LoadLittleEndian<uint64_t>(file, 88);
  header.device_calls_unhooked = LoadLittleEndian<uint64_t>(file, 96);
  header.stacks_missed = LoadLittleEndian<uint64_t>(file, 104);
  header.fold_generation = LoadLittleEndian<uint32_t>(file, 112);
  if (header.fold_generation != 0) {
    header.fold_horizon = LoadLittleEndian<uint64_t>(file, header.fold_generation % 2 == 0 ? 120 : 128);
  }
  header.exit_ticks = LoadLittleEndian<uint64_t>(file, 136);
  header.exit_status = static_cast<int32_t>(LoadLittleEndian<uint32_t>(file, 144));
  const std::string_view reason = file.substr(kReasonOffset, kReasonSize);
  header.disabled_reason = std::string(reason.substr(0, reason.find('\0')));
  return header;
}

}  // namespace

std::string RecorderStateText(const FileHeader& header) {
  switch (static_cast<RecorderState>(header.state)) {
    case RecorderState::kOff:
      return "off";
    case RecorderState::kArmed:
      return "armed";
    case RecorderState::kRecording:
      return "recording";
    case RecorderState::kDisabled:
      return absl::StrCat("disabled: ", header.disabled_reason);
  }
  return absl::StrCat("unknown state ", header.state);
}

absl::StatusOr<FileHeader> ParseFileHeader(std::string_view file, const std::string& name, DamageLog* damage) {
  const bool short_file = file.size() < kFileHeaderSize;
  const bool magic_holds =
      file.substr(0, kTraceMagic.size()) == kTraceMagic.substr(0, std::min(file.size(), kTraceMagic.size()));
  if (short_file) return file.empty() || magic_holds ? TooShort(file, name) : Foreign(file, name);
  const int fixed = FixedFieldsThatHold(file);
  if (!magic_holds) {
    // All three sizes by chance in a foreign file: no. A flipped bit in the magic of a trace: yes.
    if (fixed < static_cast<int>(std::size(kFixedFields))) return Foreign(file, name);
    damage->Add("header: the magic at byte 0 is damaged; the sizes after it hold, so it is read as a trace");
  }
  const uint32_t version = LoadLittleEndian<uint32_t>(file, 8);
  if (version != kFormatVersion) return OtherVersion(version, name);
  for (const FixedField& field : kFixedFields) {
    const uint32_t found = LoadLittleEndian<uint32_t>(file, field.offset);
    if (found == field.value) continue;
    damage->Add(absl::StrCat("header: ", field.what, " at byte ", field.offset, " is ", found, ", version ",
                             kFormatVersion, " has ", field.value, "; read as ", field.value));
  }
  return Load(file);
}

}  // namespace oomtrace
