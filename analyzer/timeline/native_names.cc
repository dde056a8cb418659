#include "analyzer/timeline/native_names.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "analyzer/timeline/library_symbols.h"

namespace oomtrace {
namespace {

struct Kind {
  std::string_view part;  // of the function's name, in small letters
  std::string_view name;
};

// The functions of PyTorch 2.4 to 2.15 that ask its allocator for memory which is no tensor, and NVIDIA's libraries.
constexpr Kind kFunctions[] = {
    {"blas", "cuBLAS workspace"},
    {"cudnn", "cuDNN workspace"},
    {"cufft", "cuFFT workspace"},
    {"cusolver", "cuSOLVER workspace"},
    {"magma", "MAGMA workspace"},
    {"cusparse", "cuSPARSE workspace"},
    {"gpu_reduce", "reduction buffer"},
    {"sort", "sort temporary"},
    {"cub::", "CUB temporary"},
    {"thrust", "Thrust temporary"},
    {"multi_tensor", "multi-tensor list"},
    {"nccl", "NCCL buffer"},
    {"storage_pynew", "untyped storage"},
    {"flash", "attention workspace"},
};
constexpr Kind kLibraries[] = {
    {"libcublas", "cuBLAS workspace"}, {"libcudnn", "cuDNN workspace"},       {"libcufft", "cuFFT workspace"},
    {"libnccl", "NCCL buffer"},        {"libcusolver", "cuSOLVER workspace"}, {"libcusparse", "cuSPARSE workspace"},
};

std::string_view FileName(std::string_view path) { return path.substr(path.rfind('/') + 1); }

bool StartsWith(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }
bool Contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

bool IsAllocator(const NativeCall& call) {
  return Contains(call.library, "/libc10") || Contains(call.function, "Allocator");
}

// at::_ops::sort::call → "sort".
std::string OperatorOf(const std::string& plain) {
  constexpr std::string_view kPrefix = "at::_ops::";
  if (!StartsWith(plain, kPrefix)) return "";
  return plain.substr(kPrefix.size(), plain.find("::", kPrefix.size()) - kPrefix.size());
}

}  // namespace

std::string PlainName(const std::string& function) {
  const std::string text = absl::StrReplaceAll(function, {{"(anonymous namespace)::", ""}});
  std::string_view name(text);
  name = name.substr(0, name.find_first_of("<("));
  const size_t space = name.rfind(' ');
  return std::string(space == std::string_view::npos ? name : name.substr(space + 1));
}

std::string NameOfBuffer(const std::vector<NativeCall>& calls) {
  std::string function, library;
  for (const NativeCall& call : calls) {
    if (IsAllocator(call)) continue;
    if (library.empty()) library = FileName(call.library);
    for (const Kind& kind : kLibraries)
      if (StartsWith(FileName(call.library), kind.part)) return std::string(kind.name);
    const std::string plain = PlainName(call.function);
    // What runs above an operator is the program's: it names nothing.
    if (const std::string operation = OperatorOf(plain); !operation.empty())
      return absl::StrCat("buffer of ", operation);
    for (const Kind& kind : kFunctions)
      if (Contains(absl::AsciiStrToLower(plain), kind.part)) return std::string(kind.name);
    if (function.empty()) function = plain;
  }
  if (!function.empty()) return absl::StrCat("buffer of ", function);
  return library.empty() ? "" : absl::StrCat("buffer asked for by ", library);
}

absl::flat_hash_map<uint32_t, std::string> BufferNames(const Tables& tables) {
  LibrarySymbols symbols;
  absl::flat_hash_map<uint32_t, std::string> names;
  for (const auto& [id, callers] : tables.native_callers) {
    std::vector<NativeCall> calls;
    for (int i = 0; i < std::min(callers.library_size(), callers.offset_size()); ++i) {
      const auto file = tables.libraries.find(callers.library(i));
      if (file != tables.libraries.end())
        calls.push_back({file->second.path, symbols.FunctionAt(file->second, callers.offset(i))});
    }
    names[id] = NameOfBuffer(calls);
  }
  return names;
}

}  // namespace oomtrace
