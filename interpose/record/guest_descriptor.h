// The descriptor of a file in a process where anybody may close it, or put a file of his own at its number.
//
// Guarantees
// - Nothing is ever done to another file than the one that was created: before each use device and inode are compared,
//   and where they differ the file is opened anew by its path, never through a symbolic link.
// - Its number is high where the limits allow (kLowest), so that the host's next descriptor gets the number that it
//   would have got without us; it is never 0, 1 or 2, which the host may have closed.
// Not thread-safe: TraceFile's lock. Zeroed memory is not a valid one.
#pragma once

#include <sys/types.h>

namespace oomtrace {

class GuestDescriptor {
 public:
  static constexpr int kLowest = 512;

  // Makes the file, which must not exist, with mode 0600 whatever the umask says. False: errno says why.
  // `path` is kept by address.
  bool Create(const char* path);
  // For one system call that follows at once; -1 where the file cannot be reached any more.
  int Get();
  // Gives up the descriptor, if it is still ours.
  void Close();

 private:
  bool IsOurs(int descriptor) const;

  int descriptor_ = -1;
  const char* path_ = nullptr;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace oomtrace
