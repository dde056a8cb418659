// What follows from an error's text, and what does not.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "analyzer/explain/messages.h"
#include "analyzer/explain/surroundings.h"

namespace oomtrace {

struct Judgement {
  Message message;
  // Stable, of docs/explain.md: larger_than_card, memory_limit, other_processes, outside_pytorch, idle_cache,
  // private_pools, full, free_afterwards, corrupt_size, retry, beside_pytorch, context, maybe_memory, serving_budget,
  // xla_preallocation, host_memory, shared_memory, kernel_resources.
  std::string cause;
  double confidence = 0;                // that it is this cause, 0 to 1
  std::string headline;                 // one sentence
  std::vector<std::string> figures;     // what the message says, and what follows by subtraction
  std::vector<std::string> reasons;     // why this cause
  std::vector<std::string> candidates;  // tensors of this size
  std::vector<std::string> unknown;     // what no such message can say
  std::vector<std::string> next;        // what to do, first thing first
};

// One for each different message, in the text's order; that of the kernel's OOM killer where there is none but the
// shell says "Killed".
std::vector<Judgement> Judge(std::string_view text);

}  // namespace oomtrace
