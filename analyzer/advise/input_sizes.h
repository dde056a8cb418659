// Inputs of batches that are not all of one size, as sentences of unlike length make them.
#pragma once

#include <string>

#include "analyzer/diagnose/facts.h"

namespace oomtrace {

// Where few batches are on record and their inputs vary in more than how many samples they hold, a larger one may come
// that nobody has seen: "if no batch to come is larger than those on record, ...". "": they do not vary, or so many are
// on record that the largest of them says enough.
std::string IfNoLargerInput(const Facts& facts);

}  // namespace oomtrace
