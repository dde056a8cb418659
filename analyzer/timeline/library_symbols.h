// Names of functions in a library's file, from its symbol tables.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace oomtrace {

// The demangled function at each of `offsets` into the file; without an entry where the file is not there, is no ELF
// file of 64 bits, or has no symbol for it. Never fails: a trace may name any file, and files may be damaged.
std::map<uint64_t, std::string> FunctionsAt(const std::string& path, const std::vector<uint64_t>& offsets);

}  // namespace oomtrace
