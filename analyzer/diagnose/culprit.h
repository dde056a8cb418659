// The statement and the tensor to look at first.
#pragma once

#include "analyzer/diagnose/facts.h"
#include "analyzer/diagnose/kept_outputs.h"
#include "analyzer/diagnose/leak.h"
#include "analyzer/diagnose/pattern.h"

namespace oomtrace {

// The user's line behind the refusal. The autograd engine's threads run no line of the user's: there it is the last
// line of the user's seen in the same phase (the call of backward).
Frame RefusalSite(const Facts& facts);

// For a leak the line that made the largest of the tensors that stay, and their holder where the trace names it; for
// outputs that an evaluation keeps, the statement that called the model, and their holder; for a late one-off, the
// statement that had not run before and its largest tensor; for any other death the tensor that did not fit. A healthy
// run has one only where little was left: the largest tensor at the peak. Bytes are the tensor's own, not those of the
// block that the allocator handed out for it.
report::Culprit FindCulprit(const Facts& facts, const Leak& leak, const KeptOutputs& kept, const Pattern& pattern);

void SetSite(const Frame& frame, report::Culprit& culprit);
// The line, shape and holder of one tensor.
void FillTensorCulprit(const Timeline& timeline, const Tensor& tensor, report::Culprit& culprit);

// Who holds the tensors at the moment of the report: grouped by category, name and line, largest first.
std::vector<report::Owner> FindOwners(const Facts& facts, size_t limit);

}  // namespace oomtrace
