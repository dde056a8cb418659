// An evaluation, or a generation, that runs with gradients on: what its graphs keep, batch by batch, and what would be
// there without them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analyzer/diagnose/facts.h"
#include "analyzer/replay/altered.h"

namespace oomtrace {

struct EvaluationGraphs {
  int64_t batches = 0;   // whole ones before the one in work
  bool gathers = false;  // graphs of those live still: what fills the card is their sum, whatever the batch
  int64_t kept = 0;      // bytes that live because of a graph, the outputs not among them
  int64_t in_work = 0;   // of these, of the batch in work
  int64_t largest = 0;   // largest tensor of the evaluation, the refused one included
  // What the program may keep of each batch beside the graph: named by a holder, else the last that each has made.
  int64_t outputs = 0;
  int64_t output_per_batch = 0;
  bool keeps_outputs = false;  // a holder shows it
  std::string holder;          // of outputs, or of what keeps the graphs; "" where not known
  // Lives where each batch's graph is gone at its end: the most that an evaluation without gradients can need, for
  // within a batch it lets go of more.
  std::vector<OtherLife> without_graphs;
  // Where each tensor is gone once a few more have been made, as in a chain of layers without gradients.
  std::vector<OtherLife> as_chain;
  // The same, and what may be kept of each batch goes with the batch after it.
  std::vector<OtherLife> without_outputs;
  // Where each batch's graph is gone when that of the next one is whole: results keep their values only.
  std::vector<OtherLife> let_go;
};

EvaluationGraphs FindEvaluationGraphs(const Facts& facts);

}  // namespace oomtrace
