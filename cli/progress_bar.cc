#include "cli/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace oomtrace {
namespace {

constexpr std::chrono::seconds kPatience{1};
constexpr std::chrono::milliseconds kEach{100};
constexpr int kWidth = 30;  // characters
constexpr char kEraseLine[] = "\r\x1b[K";

}  // namespace

ProgressBar::ProgressBar(std::string what)
    : what_(std::move(what)), terminal_(isatty(STDERR_FILENO) == 1), next_(Clock::now() + kPatience) {}

ProgressBar::~ProgressBar() {
  if (shown_) std::fputs(kEraseLine, stderr);
}

void ProgressBar::Show(double share) {
  if (!terminal_ || Clock::now() < next_) return;
  next_ = Clock::now() + kEach;
  shown_ = true;
  const double part = std::clamp(share, 0.0, 1.0);
  const auto filled = static_cast<size_t>(part * kWidth);
  const std::string bar = std::string(filled, '#') + std::string(kWidth - filled, '.');
  std::fprintf(stderr, "%s%s [%s] %2d %%", kEraseLine, what_.c_str(), bar.c_str(), static_cast<int>(100 * part));
  std::fflush(stderr);
}

}  // namespace oomtrace
