#include "analyzer/read/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace oomtrace {
namespace {

absl::Status OpenError(int error, const std::string& path) {
  const std::string line = absl::StrCat(path, ": cannot be opened: ", std::strerror(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(absl::StrCat(line, ". Give the path of a trace (*.oomtrace)"));
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(absl::StrCat(
          line, ". A trace is readable by the user who recorded it alone: read it as that user, or have it made ",
          "readable (chmod a+r)"));
    default:
      return absl::UnavailableError(line);
  }
}

// Closes the descriptor on every way out; the mapping outlives it.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  // Not blocking: a named pipe must not hang the analyzer before it is refused.
  const Descriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return OpenError(errno, path);
  struct stat status;
  if (fstat(fd.get(), &status) != 0) return OpenError(errno, path);
  if (!S_ISREG(status.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", S_ISDIR(status.st_mode) ? "a directory" : "not a file",
                                                   ". Give the path of a trace (*.oomtrace)"));
  }
  const size_t size = static_cast<size_t>(status.st_size);
  if (size == 0) return MappedFile(nullptr, 0);
  void* address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (address == MAP_FAILED) return OpenError(errno, path);
  return MappedFile(address, size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : address_(std::exchange(other.address_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(address_, other.address_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::Release(std::string_view part) const {
  constexpr uintptr_t kPage = 4096;  // a larger one makes the call fail, and the pages stay
  const auto address = reinterpret_cast<uintptr_t>(part.data());
  const uintptr_t begin = address / kPage * kPage;
  madvise(reinterpret_cast<void*>(begin), address + part.size() - begin, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (address_ != nullptr) munmap(address_, size_);
}

}  // namespace oomtrace
