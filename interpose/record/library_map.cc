#include "interpose/record/library_map.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <initializer_list>

#include "interpose/record/hash.h"

namespace oomtrace {
namespace {

uintptr_t ParseHex(const char** text) {
  uintptr_t value = 0;
  for (;; ++*text) {
    const char c = **text;
    if (c >= '0' && c <= '9') {
      value = value << 4 | static_cast<uintptr_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      value = value << 4 | static_cast<uintptr_t>(c - 'a' + 10);
    } else {
      return value;
    }
  }
}

bool HoldsCachingAllocator(std::string_view path) {
  for (const std::string_view name : {std::string_view("/libc10_cuda.so"), std::string_view("/libc10_hip.so")})
    if (path.size() >= name.size() && memcmp(path.data() + path.size() - name.size(), name.data(), name.size()) == 0)
      return true;
  return false;
}

// The executable or shared library of CPython: python3.11, libpython3.11.so.1.0.
bool IsInterpreter(std::string_view path) {
  size_t name = path.size();
  while (name > 0 && path[name - 1] != '/') --name;
  for (const std::string_view prefix : {std::string_view("python"), std::string_view("libpython")})
    if (path.size() - name >= prefix.size() && memcmp(path.data() + name, prefix.data(), prefix.size()) == 0)
      return true;
  return false;
}

}  // namespace

LibraryFound LibraryMap::Find(const void* code, Facts& facts) {
  const auto address = reinterpret_cast<uintptr_t>(code);
  const uint64_t key = Mix(address, 0);
  if (const uint32_t known = recent_.Find(key))
    if (const uint32_t offset = recent_offsets_.Find(key)) return {known >> 1, (known & 1) != 0, offset};
  SpinLockHolder hold(lock_);
  const Range* range = SearchTwice(address, facts);
  if (range == nullptr) return {};
  LibraryFound library = range->library;
  library.offset = address - range->begin + range->file_offset;
  if (library.offset <= UINT32_MAX) {
    recent_offsets_.Insert(key, static_cast<uint32_t>(library.offset));
    recent_.Insert(key, library.id << 1 | (library.caching_allocator ? 1 : 0));
  }
  return library;
}

CodeFound LibraryMap::FindCode(uintptr_t code, Facts& facts) {
  SpinLockHolder hold(lock_);
  const Range* range = SearchTwice(code, facts);
  if (range == nullptr) return {};
  return {{range->library.id, code - range->begin + range->file_offset}, range->base, range->interpreter};
}

const LibraryMap::Range* LibraryMap::SearchTwice(uintptr_t address, Facts& facts) {
  if (const Range* range = Search(address)) return range;
  Refresh(facts);
  return Search(address);
}

const LibraryMap::Range* LibraryMap::Search(uintptr_t address) const {
  for (uint32_t i = 0; i < count_; ++i)
    if (address >= ranges_[i].begin && address < ranges_[i].end) return &ranges_[i];
  return nullptr;
}

// A line: "7f00-7fff r-xp 00000000 08:01 1234   /usr/lib/x.so".
void LibraryMap::AddLine(const char* line, const char* end, Facts& facts) {
  const uintptr_t begin_address = ParseHex(&line);
  ++line;
  const uintptr_t end_address = ParseHex(&line);
  if (end - line < 8) return;
  const char* offset_text = line + 6;
  const uint64_t file_offset = ParseHex(&offset_text);
  if (file_offset == 0) base_ = begin_address;
  if (line[3] != 'x') return;
  const auto* path = static_cast<const char*>(memchr(line, '/', static_cast<size_t>(end - line)));
  if (path == nullptr || count_ == kMost) return;
  const std::string_view text(path, static_cast<size_t>(end - path));
  ranges_[count_++] = {
      begin_address,      end_address, file_offset, base_, {facts.Library(text), HoldsCachingAllocator(text)},
      IsInterpreter(text)};
}

void LibraryMap::Refresh(Facts& facts) {
  const int descriptor = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return;
  count_ = 0;
  char buffer[8192];
  size_t filled = 0;
  for (;;) {
    const ssize_t count = read(descriptor, buffer + filled, sizeof(buffer) - filled);
    if (count <= 0) break;
    filled += static_cast<size_t>(count);
    const char* line = buffer;
    while (const auto* end =
               static_cast<const char*>(memchr(line, '\n', filled - static_cast<size_t>(line - buffer)))) {
      AddLine(line, end, facts);
      line = end + 1;
    }
    filled -= static_cast<size_t>(line - buffer);
    memmove(buffer, line, filled);
    if (filled == sizeof(buffer)) break;  // a path longer than the kernel allows
  }
  close(descriptor);
}

}  // namespace oomtrace
