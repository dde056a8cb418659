// Private pools of PyTorch's allocator (MemPool, CUDA graphs) that grow in number: a graph captured for each new size,
// and kept, keeps the segments of its capture, though hardly a tensor lives in them.
#pragma once

#include <cstdint>
#include <string>

#include "analyzer/diagnose/facts.h"
#include "analyzer/diagnose/leak.h"
#include "analyzer/diagnose/pattern.h"
#include "report.pb.h"

namespace oomtrace {

struct PrivatePools {
  int64_t count = 0;          // pools with segments at the refusal
  int64_t bytes = 0;          // of these segments
  int64_t largest = 0;        // bytes of the largest pool
  int64_t in_tensors = 0;     // bytes of tensors that live in them
  uint32_t example = ~0u;     // the largest tensor ever made in one, as an index into Timeline::tensors; ~0: none
  uint32_t survivor = ~0u;    // one of an earlier step that lives in one and whose holder is known, ~0: none
  bool grow = false;          // one came after another, step after step, until the end
  double bytes_per_step = 0;  // of what came so
  int64_t grown = 0;          // bytes of the pools that came so
  int64_t since = 0;          // steps that had completed when the first of them came
  int64_t leaked_beside = 0;  // bytes of tensors outside of them that leak
  bool decides = false;       // they grow, what else leaks is less, and without them the request would have fit
};

PrivatePools FindPrivatePools(const Facts& facts, const Leak& leak);

// The pattern where they decide.
Pattern PrivatePoolsPattern(const Facts& facts, const PrivatePools& pools, const Leak& leak);
// The statement that made most in them, and who keeps what still lives there.
void FillPrivatePoolsCulprit(const Facts& facts, const PrivatePools& pools, const std::string& holder,
                             report::Culprit* culprit);
// What the pools and the tensors beside them grow by, together.
void FillPrivatePoolsLeak(const Facts& facts, const PrivatePools& pools, const Leak& leak,
                          const report::Culprit& culprit, report::Leak* out);

}  // namespace oomtrace
