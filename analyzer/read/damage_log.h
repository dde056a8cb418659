// What was unreadable in a trace, where: one line each, in the order found.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace oomtrace {

class DamageLog {
 public:
  void Add(std::string line) {
    if (lines_.size() < kMaxLines) {
      lines_.push_back(std::move(line));
    } else {
      ++left_out_;
    }
  }

  bool empty() const { return lines_.empty(); }

  // At most kMaxLines, and a last one that counts the rest.
  std::vector<std::string> Lines() const {
    std::vector<std::string> lines = lines_;
    if (left_out_ > 0) lines.push_back(absl::StrCat("and ", left_out_, " more places"));
    return lines;
  }

 private:
  static constexpr size_t kMaxLines = 50;  // more tell a reader nothing, and a wrecked file has thousands
  std::vector<std::string> lines_;
  int64_t left_out_ = 0;
};

}  // namespace oomtrace
