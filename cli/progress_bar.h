// How far a long piece of work has come, on one line of stderr: for those who look at a terminal, and wait.
#pragma once

#include <chrono>
#include <string>

namespace oomtrace {

// Shows nothing where stderr is no terminal, and nothing in the first second. The line is gone with the object. For one
// thread.
class ProgressBar {
 public:
  explicit ProgressBar(std::string what);
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar();

  // `share`: from 0 to 1.
  void Show(double share);

 private:
  using Clock = std::chrono::steady_clock;

  std::string what_;
  bool terminal_;
  Clock::time_point next_;  // when the line is written again
  bool shown_ = false;
};

}  // namespace oomtrace
