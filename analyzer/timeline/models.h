// The program's models: what each is made of, and which of them an optimizer trains.
//
// A model is a root module whose parameters the trace names. Optimizers name theirs when they first step and at a
// death, so that of a run with an optimizer it is known exactly whom nobody trains.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

struct Model {
  std::set<size_t> parameters;  // indices into Timeline::tensors
  int64_t bytes = 0;            // of these
  bool trained = false;         // an optimizer has one of them at least
};

class Models {
 public:
  explicit Models(const Timeline& timeline);

  // By the identity of the root.
  const std::map<uint64_t, Model>& by_root() const { return by_root_; }
  // Identity of the model that a module is (a part of); 0: none with parameters on a device.
  uint64_t RootOf(uint64_t module) const;
  // Whether an optimizer is known, has parameters of some model, and none of the one that `module` belongs to.
  bool Untrained(uint64_t module) const;
  // Whether an optimizer has tensors that are no model's.
  bool trains_others() const { return trains_others_; }
  // Whether one has parameters of the other: a part of it, or a wrapper around it.
  static bool Share(const Model& a, const Model& b);

 private:
  // A module that has spoken for itself, and is a part of another one or wrapped by it, is no model of its own.
  void JoinParts();

  std::map<uint64_t, Model> by_root_;
  std::map<uint64_t, uint64_t> root_of_;  // of modules that are no roots themselves
  bool any_trained_ = false;
  bool trains_others_ = false;
};

}  // namespace oomtrace
