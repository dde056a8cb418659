// Which tensors are a model's outputs over a vocabulary (or another large set of classes).
#pragma once

#include <cstdint>
#include <vector>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// A tensor is logits where its last dimension is the row count of a weight matrix of 4096 rows or more and something
// says that these rows are classes: a table of embeddings has as many, a loss made a tensor of that width, or the
// matrix is the model's last and integers arrived from the host, one for each row of the tensor. A wide layer alone (a
// generator's image, an autoencoder's output) is not enough. Where integers arrive at all, its rows have to be as many.
class Logits {
 public:
  explicit Logits(const Timeline& timeline);
  bool Is(uint32_t layout) const { return layout < is_.size() && is_[layout]; }
  // Whether the stack runs within the loss's function.
  bool InLoss(uint32_t stack) const { return stack < in_loss_.size() && in_loss_[stack]; }

 private:
  std::vector<bool> is_;       // by layout
  std::vector<bool> in_loss_;  // by stack
};

}  // namespace oomtrace
