// What a training keeps on the device beside PyTorch: an extension or a library that takes memory again and again.
#pragma once

#include <string>

#include "analyzer/diagnose/device_growth.h"
#include "analyzer/diagnose/facts.h"
#include "analyzer/diagnose/pattern.h"

namespace oomtrace {

struct OutsideGrowth {
  DeviceGrowth growth;   // found: one place outside PyTorch's allocator kept taking more, from its first block on
  bool decides = false;  // it ran out of memory, and without what that place had taken the request would have fit
};

// Growths below 2 % of the device are left alone: communicators and workspaces of libraries come late, too.
OutsideGrowth FindOutsideGrowth(const Facts& facts);

// The pattern where it decides.
Pattern OutsidePattern(const Facts& facts, const OutsideGrowth& outside);
// "ext.cc:31 holds 278 allocations of 556.00 MiB outside PyTorch, and took more until the end".
std::string OutsideSentence(const Facts& facts, const DeviceGrowth& growth);

}  // namespace oomtrace
