// Names of functions in a library's file, from its symbol tables. A trace may name any file and files may be damaged:
// nothing in one is believed, and what cannot be read has no name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/node_hash_map.h"
#include "analyzer/read/tables.h"

namespace oomtrace {

// Reads each library once. For one thread at a time.
class LibrarySymbols {
 public:
  LibrarySymbols();
  ~LibrarySymbols();

  // The function, demangled and with its parameters, whose call returns to `offset` of the file; "" where the file is
  // not there or not the one that the program ran, is no ELF file of 64 bits, or has no symbol for the place (a
  // stripped library names what it exports).
  std::string FunctionAt(const LibraryFile& file, uint64_t offset);

  // Why a place in it has no name: "it is not on this machine", "it has changed since the recording", …
  std::string WhyNameless(const LibraryFile& file);

 private:
  class Library;
  const Library* Open(const LibraryFile& file);
  absl::node_hash_map<std::string, std::unique_ptr<Library>> libraries_;  // null: cannot be read
};

}  // namespace oomtrace
