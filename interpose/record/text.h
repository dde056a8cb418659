// Text in a fixed buffer, for places where neither stdio nor the application's malloc may be used. What does not fit is
// cut off; the text is always zero-terminated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace oomtrace {

template <size_t kCapacity>
class Text {
 public:
  Text() { buffer_[0] = 0; }

  Text& Add(const char* text) { return Add(text, strlen(text)); }
  Text& Add(const char* text, size_t size) {
    if (size > kCapacity - 1 - size_) {
      size = kCapacity - 1 - size_;
      cut_ = true;
    }
    memcpy(buffer_ + size_, text, size);
    size_ += size;
    buffer_[size_] = 0;
    return *this;
  }
  Text& AddNumber(uint64_t value) {
    char digits[20];
    size_t first = sizeof(digits);
    do digits[--first] = static_cast<char>('0' + value % 10);
    while ((value /= 10) != 0);
    return Add(digits + first, sizeof(digits) - first);
  }

  // The last `most` bytes of a long text, behind dots.
  Text& AddEnd(const char* text, size_t most) {
    const size_t size = strlen(text);
    return size <= most ? Add(text, size) : Add("...").Add(text + size - most, most);
  }

  const char* c_str() const { return buffer_; }
  size_t size() const { return size_; }
  bool cut() const { return cut_; }  // not all of it is there
  void Clear() {
    buffer_[size_ = 0] = 0;
    cut_ = false;
  }

 private:
  size_t size_ = 0;
  bool cut_ = false;
  char buffer_[kCapacity];
};

}  // namespace oomtrace
