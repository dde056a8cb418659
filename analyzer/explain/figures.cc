#include "analyzer/explain/figures.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "analyzer/explain/text.h"
#include "re2/re2.h"

namespace oomtrace {
namespace {

constexpr char kAmount[] = R"(([0-9][0-9.,]*) ?(bytes|[KMGT]i?B|B)\b)";

// The first amount that the pattern finds; %A in it stands for one.
class AmountPattern {
 public:
  explicit AmountPattern(std::string_view pattern, bool decimal = false)
      : pattern_(absl::StrCat("(?i)", absl::StrJoin(absl::StrSplit(std::string(pattern), "%A"), kAmount))),
        decimal_(decimal) {}

  std::optional<Amount> In(std::string_view text) const {
    std::string number, unit;
    if (!RE2::PartialMatch(Piece(text), pattern_, &number, &unit)) return std::nullopt;
    return ParseAmount(number, unit, decimal_);
  }

 private:
  RE2 pattern_;
  bool decimal_;
};

// Whitespace may be a line break with a log's prefix behind it; between the words of one figure it is only whitespace.
void ReadTorchFigures(std::string_view text, Message* message) {
  static const AmountPattern kWanted(R"(tried to allocate\s+%A)");
  static const AmountPattern kTotalOld(R"(%A\s+total\s+capacity)");
  static const AmountPattern kTotal(R"(total\s+capaci?ty\s+of\s+%A)");
  static const AmountPattern kFree(R"(of\s+which\s+%A\s+is\s+free)"), kFreeOld(R"(%A\s+free\b)");
  static const AmountPattern kAllocatedOld(R"(%A\s+already\s+allocated)");
  static const AmountPattern kAllocated(R"(allocated\s+memory\s+%A\s+is\s+allocated\s+by)");
  static const AmountPattern kCached(R"(%A\s+cached)");
  static const AmountPattern kReserved(R"(%A\s+reserved\s+in\s+total)");
  static const AmountPattern kAllowed(R"(%A\s+allowed)");
  static const AmountPattern kPrivate(R"(with\s+%A\s+allocated\s+in\s+private\s+pools)");
  static const AmountPattern kUnallocated(R"(%A\s+is\s+reserved\s+by\s+PyTorch\s+but\s+unallocated)");
  static const AmountPattern kSelf(R"(this\s+process\s+has\s+%A\s+memory\s+in\s+use)");
  static const RE2 kProcess(absl::StrCat(R"(Process\s+([0-9]{1,18})\s+has\s+)", kAmount, R"(\s+memory\s+in\s+use)"));
  static const RE2 kDevice(R"(GPU\s+([0-9]{1,4})\b)");

  message->wanted = kWanted.In(text);
  message->total = kTotal.In(text);
  if (!message->total) message->total = kTotalOld.In(text);
  message->free = kFree.In(text);
  if (!message->free) message->free = kFreeOld.In(text);
  message->allocated = kAllocated.In(text);
  if (!message->allocated) message->allocated = kAllocatedOld.In(text);
  message->allowed = kAllowed.In(text);
  message->private_pools = kPrivate.In(text);
  message->unallocated = kUnallocated.In(text);
  message->reserved = kReserved.In(text);
  // 1.0 to 1.3: what is cached and not in use.
  if (const auto cached = kCached.In(text)) message->unallocated = cached;
  // From 2.1 on allocated and unallocated are all that is reserved; before, reserved is the total of both.
  if (!message->reserved && message->allocated && message->unallocated) {
    message->reserved = Amount{message->allocated->bytes + message->unallocated->bytes,
                               message->allocated->rounding + message->unallocated->rounding};
  } else if (message->reserved && message->allocated && !message->unallocated) {
    message->unallocated = Amount{std::max<int64_t>(0, message->reserved->bytes - message->allocated->bytes),
                                  message->allocated->rounding + message->reserved->rounding};
  }
  message->this_process = kSelf.In(text);
  int device = 0;
  if (RE2::PartialMatch(Piece(text), kDevice, &device)) message->device = device;
  re2::StringPiece rest = Piece(text);
  int64_t pid = 0;
  std::string number, unit;
  while (RE2::FindAndConsume(&rest, kProcess, &pid, &number, &unit))
    message->processes.push_back({pid, ParseAmount(number, unit)});
  message->alloc_conf = Contains(text, "PYTORCH_ALLOC_CONF");
  message->max_split_only = Contains(text, "max_split_size_mb") && !Contains(text, "expandable");
}

// The n-th whole number of the match, as exact bytes.
std::optional<Amount> ExactBytes(std::string_view match, int n) {
  static const RE2 kNumber("([0-9][0-9,]*)");
  re2::StringPiece rest = Piece(match);
  std::string digits;
  for (int i = 0; i <= n; ++i) {
    if (!RE2::FindAndConsume(&rest, kNumber, &digits)) return std::nullopt;
  }
  return ParseAmount(digits, "B");
}

}  // namespace

void FillTorch(std::string_view match, std::string_view after, Message* message) {
  static const RE2 kBackend(R"((CUDA|HIP|XPU|NPU|MUSA|MLU|HPU) out of memory)");
  std::string backend;
  if (RE2::PartialMatch(Piece(match), kBackend, &backend)) message->who = absl::StrCat("PyTorch (", backend, ")");
  ReadTorchFigures(absl::StrCat(std::string(match), std::string(after)), message);
}

void FillMps(std::string_view match, std::string_view after, Message* message) {
  static const AmountPattern kAllocated(R"(MPS allocated:\s+%A)"), kOther(R"(other allocations:\s+%A)");
  static const AmountPattern kAllowed(R"(max allowed:\s+%A)"), kWanted(R"(tried to allocate\s+%A)");
  const std::string text = absl::StrCat(std::string(match), std::string(after));
  message->allocated = kAllocated.In(text);
  message->allowed = kAllowed.In(text);
  message->wanted = kWanted.In(text);
  if (const auto other = kOther.In(text); other && message->allocated) {
    message->reserved =
        Amount{other->bytes + message->allocated->bytes, other->rounding + message->allocated->rounding};
  }
}

// Allocation on device 0 would exceed allowed memory. (out of memory)  Currently allocated : 9.60 GiB
// Requested : 1.00 GiB  Device limit : 11.99 GiB  Free (according to CUDA): 0 bytes  PyTorch limit (set by
// user-supplied memory fraction) : 17179869184.00 GiB
void FillAsync(std::string_view, std::string_view after, Message* message) {
  static const AmountPattern kAllocated(R"(Currently allocated\s*:\s*%A)"), kWanted(R"(Requested\s*:\s*%A)");
  static const AmountPattern kTotal(R"(Device limit\s*:\s*%A)"), kFree(R"(Free \(according to CUDA\)\s*:\s*%A)");
  static const AmountPattern kAllowed(R"(memory fraction\)\s*:\s*%A)");
  message->allocated = kAllocated.In(after);
  message->wanted = kWanted.In(after);
  message->total = kTotal.In(after);
  message->free = kFree.In(after);
  message->allowed = kAllowed.In(after);  // 2^64 - 1, which is no amount: none
}

void FillRetry(std::string_view match, std::string_view, Message* message) {
  message->device = static_cast<int>(ExactBytes(match, 0).value_or(Amount{}).bytes);
  message->wanted = ExactBytes(match, 1);
  message->free = ExactBytes(match, 2);
  message->total = ExactBytes(match, 3);
}

void FillExact(std::string_view match, std::string_view, Message* message) { message->wanted = ExactBytes(match, 0); }

void FillAmount(std::string_view match, std::string_view, Message* message) {
  static const AmountPattern kAny("%A");
  message->wanted = kAny.In(match);
}

void FillXla(std::string_view match, std::string_view, Message* message) {
  static const AmountPattern kAny("(?:allocat\\w+|request for)\\s+%A");
  message->wanted = kAny.In(match);
}

void FillTensorFlow(std::string_view match, std::string_view, Message* message) {
  static const RE2 kShape(R"(shape\s?\[([0-9, ]*)\]\s+and\s+type\s+(\w+)\s+on\s+(\S+))");
  std::string shape, dtype, device;
  if (!RE2::PartialMatch(Piece(match), kShape, &shape, &dtype, &device)) return;
  std::vector<int64_t> sizes;
  double bytes = 1;
  for (const auto& size : absl::StrSplit(shape, ',', absl::SkipWhitespace())) {
    int64_t number = 0;
    sizes.push_back(absl::SimpleAtoi(size, &number) ? number : 0);
    bytes *= static_cast<double>(sizes.back());
  }
  message->shape = absl::StrCat("(", absl::StrJoin(sizes, ", "), ")");
  message->dtype = dtype;
  const bool two = dtype == "half" || dtype == "bfloat16" || dtype == "int16";
  const bool eight = dtype == "double" || dtype == "int64" || dtype == "complex64";
  const bool four = dtype == "float" || dtype == "int32" || dtype == "uint32";
  const int width = two ? 2 : eight ? 8 : four ? 4 : 0;
  if (width > 0 && bytes * width < 1e15) message->wanted = Amount{static_cast<int64_t>(bytes) * width, 0};
  message->on_host = Contains(absl::AsciiStrToUpper(device), "CPU");
  static const RE2 kGpu(R"(GPU:([0-9]{1,4}))");
  int gpu = 0;
  if (RE2::PartialMatch(device, kGpu, &gpu)) message->device = gpu;
}

void FillCupy(std::string_view match, std::string_view, Message* message) {
  static const RE2 kLimit(R"(limit set to:?\s+([0-9,]+))"), kHeld(R"(allocated so far:?\s+([0-9,]+))");
  message->wanted = ExactBytes(match, 0);
  std::string digits;
  if (RE2::PartialMatch(Piece(match), kHeld, &digits)) message->reserved = ParseAmount(digits, "B");
  if (RE2::PartialMatch(Piece(match), kLimit, &digits)) message->allowed = ParseAmount(digits, "B");
}

void FillPaddle(std::string_view match, std::string_view after, Message* message) {
  static const AmountPattern kWanted(R"(Cannot allocate\s+%A)"), kHeld(R"(%A\s+memory has been allocated)");
  static const AmountPattern kFree(R"(available memory is only\s+%A)");
  const std::string text = absl::StrCat(std::string(match), std::string(after));
  message->wanted = kWanted.In(text);
  message->reserved = kHeld.In(text);
  message->free = kFree.In(text);
}

// Free memory on device cuda:0 (19.77/22.05 GiB) on startup is less than desired GPU memory utilization (0.9, 19.84
// GiB)
void FillServing(std::string_view match, std::string_view after, Message* message) {
  static const RE2 kFree(R"(\(([0-9.]+)/([0-9.]+)\s+(GiB)\))");
  static const AmountPattern kWanted(R"(utilization\s+\([0-9.]+,\s+%A\))");
  const std::string text = absl::StrCat(std::string(match), std::string(after));
  std::string free, total, unit;
  if (RE2::PartialMatch(text, kFree, &free, &total, &unit)) {
    message->free = ParseAmount(free, unit);
    message->total = ParseAmount(total, unit);
  }
  message->wanted = kWanted.In(text);
}

void Nothing(std::string_view, std::string_view, Message*) {}

}  // namespace oomtrace
