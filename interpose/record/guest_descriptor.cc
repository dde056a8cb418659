#include "interpose/record/guest_descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace oomtrace {
namespace {

// The same file at a number that is out of the way. -1 where there is none left.
int MoveAway(int descriptor) {
  int moved = fcntl(descriptor, F_DUPFD_CLOEXEC, GuestDescriptor::kLowest);
  if (moved < 0 && descriptor > STDERR_FILENO) return descriptor;
  if (moved < 0) moved = fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  const int error = errno;
  close(descriptor);
  errno = error;
  return moved;
}

}  // namespace

bool GuestDescriptor::Create(const char* path) {
  int descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
  if (descriptor < 0) return false;
  fchmod(descriptor, S_IRUSR | S_IWUSR);
  struct stat state;
  descriptor = MoveAway(descriptor);
  if (descriptor < 0 || fstat(descriptor, &state) != 0) {
    const int error = errno;
    if (descriptor >= 0) close(descriptor);
    unlink(path);
    errno = error;
    return false;
  }
  descriptor_ = descriptor;
  path_ = path;
  device_ = state.st_dev;
  inode_ = state.st_ino;
  return true;
}

bool GuestDescriptor::IsOurs(int descriptor) const {
  struct stat state;
  return descriptor >= 0 && fstat(descriptor, &state) == 0 && state.st_dev == device_ && state.st_ino == inode_;
}

int GuestDescriptor::Get() {
  if (IsOurs(descriptor_)) return descriptor_;
  descriptor_ = -1;  // the number is somebody else's now
  int again = path_ != nullptr ? open(path_, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;
  if (again < 0) return -1;
  if (!IsOurs(again)) {
    close(again);
    return -1;
  }
  return descriptor_ = MoveAway(again);
}

void GuestDescriptor::Close() {
  if (IsOurs(descriptor_)) close(descriptor_);
  descriptor_ = -1;
}

}  // namespace oomtrace
