#include "analyzer/read/trace_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "analyzer/read/chunk_cursor.h"
#include "analyzer/read/dispatch.h"

namespace oomtrace {
namespace {

// Cursors by the ticks of the event they stand on, then by the order in which their chunks were taken: a heap whose
// top is the earliest. Chunks are opened when the merge reaches their base, so few are open at any time.
class ChunkMerge {
 public:
  // `file`: whose bytes they are, null where somebody else has them in memory.
  ChunkMerge(const std::vector<Chunk>& chunks, const SiteTable& sites, const MappedFile* file, DamageLog* damage)
      : sites_(sites), file_(file), damage_(damage) {
    for (const Chunk& chunk : chunks) {
      if (chunk.kind != ChunkKind::kPermanent) waiting_.push_back(&chunk);
    }
    std::stable_sort(waiting_.begin(), waiting_.end(),
                     [](const Chunk* a, const Chunk* b) { return a->base_ticks > b->base_ticks; });
    all_ = waiting_.size();
    OpenDue();
  }

  // The share of the chunks that have been opened.
  double share() const { return all_ == 0 ? 1 : 1 - static_cast<double>(waiting_.size()) / static_cast<double>(all_); }
  size_t waiting() const { return waiting_.size(); }
  bool done() const { return open_.empty(); }
  const ChunkCursor& top() const { return *open_.front(); }

  void Next() {
    // Most of the time one thread allocates: as long as its next event is the earliest, the heap stays as it is.
    if (NextThatCounts(open_.front().get())) {
      SinkTop();
    } else {
      std::pop_heap(open_.begin(), open_.end(), Later);
      Close(open_.back()->chunk());
      open_.pop_back();
    }
    OpenDue();
  }

 private:
  using Cursor = std::unique_ptr<ChunkCursor>;

  static bool Later(const Cursor& a, const Cursor& b) {
    return std::pair(a->record().ticks, a->chunk().sequence) > std::pair(b->record().ticks, b->chunk().sequence);
  }

  static bool NextThatCounts(ChunkCursor* cursor) {
    const Chunk& chunk = cursor->chunk();
    do {
      if (!cursor->Next()) return false;
    } while (cursor->record().ticks <= chunk.after);
    return cursor->record().ticks <= chunk.until;
  }

  void Close(const Chunk& chunk) const {
    if (file_ != nullptr) file_->Release(chunk.payload);
  }

  void SinkTop() {
    for (size_t parent = 0;;) {
      size_t earliest = parent;
      for (size_t child = 2 * parent + 1; child <= 2 * parent + 2 && child < open_.size(); ++child) {
        if (Later(open_[earliest], open_[child])) earliest = child;
      }
      if (earliest == parent) return;
      std::swap(open_[parent], open_[earliest]);
      parent = earliest;
    }
  }

  void OpenDue() {
    while (!waiting_.empty() && (open_.empty() || waiting_.back()->base_ticks <= open_.front()->record().ticks)) {
      auto cursor = std::make_unique<ChunkCursor>(waiting_.back(), &sites_, damage_);
      waiting_.pop_back();
      if (!NextThatCounts(cursor.get())) {
        Close(cursor->chunk());
        continue;
      }
      open_.push_back(std::move(cursor));
      std::push_heap(open_.begin(), open_.end(), Later);
    }
  }

  const SiteTable& sites_;
  const MappedFile* file_;
  DamageLog* damage_;
  size_t all_ = 0;
  std::vector<const Chunk*> waiting_;  // the next to open at the back
  std::vector<Cursor> open_;
};

}  // namespace

TraceReader::TraceReader(std::string name, FileHeader header, std::vector<Chunk> chunks, Tables tables,
                         DamageLog damage)
    : name_(std::move(name)),
      header_(std::move(header)),
      chunks_(std::move(chunks)),
      tables_(std::move(tables)),
      clock_(header_, chunks_),
      damage_(std::move(damage)) {
  RepairBaseTicks(header_, clock_, &chunks_, &damage_);
}

absl::StatusOr<std::unique_ptr<TraceReader>> TraceReader::Open(const std::string& path) {
  absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  absl::StatusOr<std::unique_ptr<TraceReader>> reader = FromBytes(file->bytes(), path);
  if (reader.ok()) {
    file->Release(file->bytes());
    (*reader)->file_ = *std::move(file);
  }
  return reader;
}

absl::StatusOr<std::unique_ptr<TraceReader>> TraceReader::FromBytes(std::string_view bytes, const std::string& name) {
  DamageLog damage;
  absl::StatusOr<FileHeader> header = ParseFileHeader(bytes, name, &damage);
  if (!header.ok()) return header.status();
  std::vector<Chunk> chunks = ListChunks(bytes, *header, &damage);
  if (chunks.empty() && !damage.empty()) {
    return absl::DataLossError(absl::StrCat(name, ": no chunk of it can be read: ", damage.Lines().front(),
                                            ". Copy the trace again, or record again"));
  }
  // A recorder that records has said at least which process it is in.
  if (chunks.empty() && header->state == static_cast<uint32_t>(RecorderState::kRecording)) {
    return absl::DataLossError(absl::StrCat(name, ": says that it is recording but holds no chunk in ", bytes.size(),
                                            " bytes. Copy the trace again, or record again"));
  }
  Tables tables = ReadTables(chunks, &damage);
  return std::unique_ptr<TraceReader>(
      new TraceReader(name, *std::move(header), std::move(chunks), std::move(tables), std::move(damage)));
}

int64_t TraceReader::ReadEvents(EventSink* sink, const Progress& progress) {
  event_damage_ = DamageLog();
  int64_t events = 0, time = 0;
  const MappedFile* file = file_ ? &*file_ : nullptr;
  size_t waiting = 0;
  for (ChunkMerge merge(chunks_, tables_.sites, file, &event_damage_); !merge.done(); merge.Next()) {
    if (progress && merge.waiting() != waiting) {
      waiting = merge.waiting();
      progress(merge.share());
    }
    // Chunks whose base time is damaged may overlap wrongly; for those who listen, time never runs backwards.
    time = std::max(time, clock_.Nanoseconds(merge.top().record().ticks));
    events += Dispatch(merge.top(), time, clock_, sink);
  }
  return events;
}

std::vector<std::string> TraceReader::damage() const {
  std::vector<std::string> lines = damage_.Lines();
  const std::vector<std::string> more = event_damage_.Lines();
  lines.insert(lines.end(), more.begin(), more.end());
  return lines;
}

}  // namespace oomtrace
