// Reads a trace file: docs/trace-format.md, proto/trace.proto.
//
// Guarantees: whatever the bytes are, it neither crashes nor hangs nor allocates more than in proportion to the file;
// every readable record before a damaged one is handed on; what was unreadable is in damage(). Events are streamed, so
// memory does not grow with their number; of the file those pages are held that are being read. Not for use by two
// threads at once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "analyzer/read/chunk_list.h"
#include "analyzer/read/clock.h"
#include "analyzer/read/damage_log.h"
#include "analyzer/read/events.h"
#include "analyzer/read/file_header.h"
#include "analyzer/read/mapped_file.h"
#include "analyzer/read/progress.h"
#include "analyzer/read/tables.h"

namespace oomtrace {

class TraceReader {
 public:
  // Errors, each one line (what, where, what to do):
  // - NotFound, PermissionDenied, InvalidArgument: no such file, not a trace, another format version (a wrong input).
  // - DataLoss: a trace, but damaged beyond use: nothing in it can be read.
  static absl::StatusOr<std::unique_ptr<TraceReader>> Open(const std::string& path);

  // The same for a trace in memory; `name` stands for the path in messages. `bytes` outlives the reader.
  static absl::StatusOr<std::unique_ptr<TraceReader>> FromBytes(std::string_view bytes, const std::string& name);

  TraceReader(const TraceReader&) = delete;
  TraceReader& operator=(const TraceReader&) = delete;

  const std::string& name() const { return name_; }
  const FileHeader& header() const { return header_; }
  const Tables& tables() const { return tables_; }

  // Hands all events to `sink`, in order of time. Returns how many there were. May be called again: the same events.
  int64_t ReadEvents(EventSink* sink, const Progress& progress = {});

  // What was unreadable. Complete after the first ReadEvents.
  std::vector<std::string> damage() const;

 private:
  TraceReader(std::string name, FileHeader header, std::vector<Chunk> chunks, Tables tables, DamageLog damage);

  std::optional<MappedFile> file_;
  std::string name_;
  FileHeader header_;
  std::vector<Chunk> chunks_;
  Tables tables_;
  TickClock clock_;
  DamageLog damage_;        // found on opening
  DamageLog event_damage_;  // found by the last ReadEvents
};

}  // namespace oomtrace
