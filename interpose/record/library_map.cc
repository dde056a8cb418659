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

}  // namespace

LibraryFound LibraryMap::Find(const void* code, Facts& facts) {
  const auto address = reinterpret_cast<uintptr_t>(code);
  const uint64_t key = Mix(address, 0);
  if (const uint32_t known = recent_.Find(key)) return {known >> 1, (known & 1) != 0};
  SpinLockHolder hold(lock_);
  LibraryFound library = Search(address);
  if (library.id == 0) {
    Refresh(facts);
    library = Search(address);
  }
  if (library.id != 0) recent_.Insert(key, library.id << 1 | (library.caching_allocator ? 1 : 0));
  return library;
}

LibraryFound LibraryMap::Search(uintptr_t address) const {
  for (uint32_t i = 0; i < count_; ++i)
    if (address >= ranges_[i].begin && address < ranges_[i].end) return ranges_[i].library;
  return {};
}

// A line: "7f00-7fff r-xp 00000000 08:01 1234   /usr/lib/x.so".
void LibraryMap::AddLine(const char* line, const char* end, Facts& facts) {
  const uintptr_t begin_address = ParseHex(&line);
  ++line;
  const uintptr_t end_address = ParseHex(&line);
  if (end - line < 5 || line[3] != 'x') return;
  const auto* path = static_cast<const char*>(memchr(line, '/', static_cast<size_t>(end - line)));
  if (path == nullptr || count_ == kMost) return;
  const std::string_view text(path, static_cast<size_t>(end - path));
  ranges_[count_++] = {begin_address, end_address, {facts.Library(text), HoldsCachingAllocator(text)}};
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
