// Reads the runs of compact events of one chunk: proto/trace.proto, Chunk.compact.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "analyzer/read/record.h"
#include "analyzer/read/wire.h"
#include "trace.pb.h"

namespace oomtrace {

using SiteTable = absl::flat_hash_map<uint32_t, trace::Site>;

class CompactRun {
 public:
  enum class Outcome {
    kEvent,     // `record` and `ticks` are those of the next event
    kReserved,  // field 7 and 8 of `record`: a device and the bytes reserved there from now on
    kEnd,
    kUndecodable,
  };

  // `sites` outlives it.
  explicit CompactRun(const SiteTable* sites) : sites_(sites) {}

  void Begin(std::string_view bytes) { run_ = WireReader(bytes); }
  // Where it stands in the run, in bytes.
  size_t offset() const { return run_.offset(); }

  // Adds to `ticks` the time since the event before. An event becomes a record of the long form, a TensorAlloc or a
  // TensorFree; of a site that the trace does not define, its bytes and ids are 0 and missing_sites() counts it.
  Outcome Next(uint64_t* ticks, Record* record);

  int64_t missing_sites() const { return missing_sites_; }

 private:
  static constexpr uint32_t kSlots = 8192;
  struct Blocks {
    uint64_t rotated[kSlots] = {};
    uint64_t device[kSlots] = {};
  };

  void Alloc(uint64_t kind, Record* record);
  void Free(uint64_t kind, Record* record);
  void ReadSite(Record* record);
  void KnownBlock();
  void NewBlock();

  const SiteTable* sites_;
  WireReader run_{std::string_view()};
  std::unique_ptr<Blocks> blocks_;  // made when a chunk has a run
  uint64_t last_new_block_ = 0;
  uint64_t rotated_ = 0;  // of the event at hand
  uint32_t slot_ = 0;
  bool valid_ = true;
  int64_t missing_sites_ = 0;
};

}  // namespace oomtrace
