#include "interpose/record/settings.h"

#include <stdlib.h>
#include <strings.h>

#include <atomic>

#include "interpose/record/recorder.h"
#include "interpose/record/text.h"

namespace oomtrace {
namespace {

constexpr const char* kOn[] = {"1", "on", "yes", "true"};
constexpr const char* kOff[] = {"0", "off", "no", "false"};
constexpr size_t kMostDigits = 9;  // of a number of steps, and of the whole part of a size
constexpr size_t kShownValue = 60;

// nullptr where it is not set or empty.
const char* Value(const char* name) {
  const char* text = getenv(name);
  return text != nullptr && text[0] != 0 ? text : nullptr;
}

template <size_t kCount>
bool IsOneOf(const char* text, const char* const (&words)[kCount]) {
  for (const char* word : words)
    if (strcasecmp(text, word) == 0) return true;
  return false;
}

bool ParseSwitch(const char* text, bool* on) {
  if (!IsOneOf(text, kOn) && !IsOneOf(text, kOff)) return false;
  *on = IsOneOf(text, kOn);
  return true;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// At least one digit and at most kMostDigits.
bool TakeNumber(const char** text, uint64_t* value) {
  size_t digits = 0;
  for (*value = 0; IsDigit(**text) && digits <= kMostDigits; ++*text, ++digits)
    *value = *value * 10 + static_cast<uint64_t>(**text - '0');
  return digits > 0 && digits <= kMostDigits;
}

// The bits by which a unit shifts; -1: none.
int UnitShift(const char* unit) {
  if (unit[0] == 0 || strcasecmp(unit, "B") == 0) return 0;
  constexpr char kUnits[] = "KMGT";
  const char letter = static_cast<char>(unit[0] & ~0x20);
  for (int i = 0; kUnits[i] != 0; ++i) {
    const bool ends = unit[1] == 0 || strcasecmp(unit + 1, "B") == 0 || strcasecmp(unit + 1, "iB") == 0;
    if (letter == kUnits[i] && ends) return 10 * (i + 1);
  }
  return -1;
}

void Say(const char* name, const char* problem, const char* taken) {
  Text<kShownValue + 1> value;
  for (const char* c = Value(name); *c != 0 && !value.cut(); ++c)
    value.Add(static_cast<unsigned char>(*c) < ' ' ? "?" : c, 1);
  Text<256> line;
  line.Add(name).Add("=").Add(value.c_str()).Add(value.cut() ? "..." : "").Add(" ").Add(problem).Add(": ").Add(taken);
  SayLine(line.Add(" is taken").c_str());
}

void CheckSwitch(const char* name, const char* otherwise) {
  const char* text = Value(name);
  bool on;
  if (text != nullptr && !ParseSwitch(text, &on))
    Say(name, "is neither on (1, on, yes, true) nor off (0, off, no, false)", otherwise);
}

void CheckBudget() {
  const char* text = Value("OOMTRACE_BUDGET");
  uint64_t bytes = TraceFile::kSmallestBudget;
  if (text != nullptr && !ParseSize(text, &bytes)) Say("OOMTRACE_BUDGET", "is no size such as 64M or 2GiB", "512M");
  if (bytes < TraceFile::kSmallestBudget) Say("OOMTRACE_BUDGET", "is too little for a trace", "1M, the least,");
}

}  // namespace

bool SwitchedOn(const char* name, bool otherwise) {
  const char* text = Value(name);
  if (text != nullptr) ParseSwitch(text, &otherwise);
  return otherwise;
}

bool ParseSize(const char* text, uint64_t* bytes) {
  // Without a unit these are bytes, of which there may be more digits.
  uint64_t whole = 0;
  const char* at = text;
  for (; IsDigit(*at) && whole < uint64_t{1} << 56; ++at) whole = whole * 10 + static_cast<uint64_t>(*at - '0');
  if (at == text || IsDigit(*at)) return false;
  uint64_t thousandths = 0;
  if (*at == '.') {
    if (!IsDigit(*++at)) return false;
    for (uint64_t worth = 100; IsDigit(*at); ++at, worth /= 10) thousandths += worth * static_cast<uint64_t>(*at - '0');
  }
  const int shift = UnitShift(at);
  if (shift < 0 || whole >= uint64_t{1} << (56 - shift)) return false;
  *bytes = (whole << shift) + ((thousandths << shift) / 1000);
  return true;
}

uint64_t BudgetBytes() {
  const char* text = Value("OOMTRACE_BUDGET");
  uint64_t bytes = kDefaultBudget;
  if (text != nullptr) ParseSize(text, &bytes);
  return bytes < TraceFile::kSmallestBudget ? TraceFile::kSmallestBudget : bytes;
}

bool ParseSteps(const char* text, StepWindow* window) {
  StepWindow read;
  if (!TakeNumber(&text, &read.last)) return false;
  if (*text == '-') {
    read.first = read.last;
    if (!TakeNumber(&++text, &read.last)) return false;
  }
  if (*text != 0 || read.first == 0 || read.last < read.first) return false;
  *window = read;
  return true;
}

bool ParseTier(const char* text, CuptiTier* tier) {
  if (IsOneOf(text, kOff)) {
    *tier = CuptiTier::kOff;
  } else if (strcasecmp(text, "mem") == 0) {
    *tier = CuptiTier::kMemory;
  } else if (strcasecmp(text, "timeline") == 0) {
    *tier = CuptiTier::kTimeline;
  } else {
    return false;
  }
  return true;
}

void SayNonsense() {
  static std::atomic<bool> said{false};
  if (said.exchange(true)) return;
  CheckSwitch("OOMTRACE", "on");
  CheckSwitch("OOMTRACE_DLSYM", "on");
  CheckSwitch("OOMTRACE_STACKS", "on");
  CheckSwitch("OOMTRACE_VERBOSE", "off");
  CheckBudget();
  StepWindow window;
  const char* steps = Value("OOMTRACE_TIMELINE");
  if (steps != nullptr && !ParseSteps(steps, &window))
    Say("OOMTRACE_TIMELINE", "is neither a number of steps (3) nor a range of them, counted from 1 (10-12)", "3");
  CuptiTier tier;
  const char* cupti = Value("OOMTRACE_CUPTI");
  if (cupti != nullptr && !ParseTier(cupti, &tier)) Say("OOMTRACE_CUPTI", "is none of off, mem, timeline", "off");
}

}  // namespace oomtrace
