// What a block without a layout is, by who asked for it: "cuBLAS workspace", "reduction buffer", "buffer of sort".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "analyzer/read/tables.h"

namespace oomtrace {

struct NativeCall {
  std::string library;   // path
  std::string function;  // demangled, "" where it is not known
};

// "void at::native::f<int>(at::Tensor&)" → "at::native::f".
std::string PlainName(const std::string& function);

// `calls`: innermost first. "" where they say nothing.
std::string NameOfBuffer(const std::vector<NativeCall>& calls);

// The name for each NativeCallers.id of the trace. Reads the symbol tables of the libraries that are on this machine;
// of others the library's own name is told.
absl::flat_hash_map<uint32_t, std::string> BufferNames(const Tables& tables);

}  // namespace oomtrace
