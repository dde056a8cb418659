// What is still to run of a forward that was cut short, told by the modules of the program's models.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "analyzer/diagnose/batch.h"
#include "analyzer/diagnose/facts.h"
#include "analyzer/timeline/models.h"

namespace oomtrace {

// The model whose forward was in work at the death.
struct ModelInWork {
  uint64_t root = 0;  // identity, 0: not known; then all models count as one
  Models models;
  const Timeline* timeline = nullptr;
  // Whether a tensor was made in its forward, or outside of any model's.
  bool Made(const Tensor& tensor) const;
  // Whether tensor `i` is one of its parameters.
  bool Has(size_t i) const { return root == 0 || models.by_root().at(root).parameters.contains(i); }
};
ModelInWork FindModelInWork(const Facts& facts);

// The longest list of modules of a model, as the blocks of a transformer are one. The layers of a model that is itself
// a list are mostly of unlike kinds: they are none.
struct ModuleList {
  std::string path;  // "": no module is in a list
  size_t size = 0;
  // Whether `module` is or lies in one of its members; then `index` is the member's.
  bool Holds(const std::string& module, int64_t& index) const;
};
ModuleList LongestList(const Timeline& timeline, const ModelInWork& model);

// Bytes that the leaf modules still to come of the model in work will keep, given those that ran since `begin`: the
// share of what these made that is kept still. Negative: nothing was made inside a module.
double RestByLeaves(const Facts& facts, const Batch& batch, const BatchCarriers& carriers, const ModelInWork& model,
                    int64_t begin);

// Bytes of each tensor that the models will make that have not been called in this micro-batch: the student after its
// teacher, the critic after the generator. A model that an earlier micro-batch has not called either does not count,
// nor does a second copy of another one (a moving average).
std::vector<int64_t> MadeByModelsToCome(const Facts& facts, const Batch& batch, const ModelInWork& model);

}  // namespace oomtrace
