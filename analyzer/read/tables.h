// What the permanent chunks of a trace say: interned strings, frames, stacks, layouts and contexts, and the facts of
// the process. An id that the trace does not define is absent; callers treat it as "none".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "analyzer/read/chunk_list.h"
#include "analyzer/read/compact_run.h"
#include "analyzer/read/damage_log.h"
#include "trace.pb.h"

namespace oomtrace {

// A file of code, and how it was when the program ran it: offsets into it mean nothing in another.
struct LibraryFile {
  std::string path;
  uint64_t bytes = 0;     // 0: not known
  uint64_t modified = 0;  // ns since 1970, 0: not known
};

struct Tables {
  absl::flat_hash_map<uint32_t, std::string> strings;  // valid UTF-8
  absl::flat_hash_map<uint32_t, trace::Frame> frames;
  absl::flat_hash_map<uint32_t, trace::Stack> stacks;
  absl::flat_hash_map<uint32_t, trace::Layout> layouts;
  absl::flat_hash_map<uint32_t, trace::Context> contexts;
  SiteTable sites;
  absl::flat_hash_map<uint32_t, trace::NativeCallers> native_callers;
  absl::flat_hash_map<uint32_t, LibraryFile> libraries;
  absl::flat_hash_map<uint64_t, trace::Module> modules;  // by identity, the last that was said
  std::vector<uint64_t> module_order;                    // identities as they were said, some more than once
  std::vector<trace::Optimizer> optimizers;              // one an identity, the last that was said
  std::vector<trace::Device> devices;                    // one an index, the last that was said
  std::vector<trace::Hook> hooks;
  std::vector<std::string> notes;
  absl::flat_hash_map<uint32_t, std::string> thread_names;  // by the kernel's number, the last that was said
  std::vector<trace::UnknownRoute> unknown_routes;
  trace::System system;  // the last that was said
  trace::Process process;

  // "" where there is none.
  const std::string& String(uint32_t id) const;
  const std::string& LibraryPath(uint32_t id) const;
};

// Reads the permanent chunks among `chunks`, in order. A chunk is used up to its first undecodable record.
Tables ReadTables(const std::vector<Chunk>& chunks, DamageLog* damage);

}  // namespace oomtrace
