// A file's bytes, mapped read-only for as long as the object lives.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace oomtrace {

class MappedFile {
 public:
  // NotFound, PermissionDenied or InvalidArgument (a directory) with a line for the user.
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::string_view bytes() const { return {static_cast<const char*>(address_), size_}; }

  // The part, of bytes(), will not be read soon: its pages leave this process and come back from the file when they are
  // read after all.
  void Release(std::string_view part) const;

 private:
  MappedFile(void* address, size_t size) : address_(address), size_(size) {}

  void* address_;  // null for an empty file, which cannot be mapped
  size_t size_;
};

}  // namespace oomtrace
