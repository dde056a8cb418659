#include "analyzer/diagnose/logits.h"

#include <algorithm>
#include <set>
#include <string>

#include "absl/strings/match.h"

namespace oomtrace {
namespace {

constexpr int64_t kSmallestVocabulary = 4096;

int64_t Rows(const std::vector<int64_t>& shape) {
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

bool IsLossFunction(const std::string& function) {
  return absl::StrContains(function, "cross_entropy") || absl::StrContains(function, "nll_loss") ||
         absl::StrContains(function, "log_softmax") || absl::StrContains(function, "CrossEntropy");
}

bool IsInteger(const std::string& dtype) { return absl::StartsWith(dtype, "int"); }

bool NamesEmbedding(const std::string& name) {
  return absl::StrContains(name, "emb") || absl::StrContains(name, "wte") || absl::StrContains(name, "tok");
}

class Evidence {
 public:
  Evidence(const Timeline& timeline, const std::vector<bool>& in_loss) : t_(timeline), in_loss_(in_loss) {
    for (const Tensor& tensor : t_.tensors) {
      if (tensor.layout == 0) continue;
      const Layout& layout = t_.layouts[tensor.layout];
      if (tensor.category == Category::kParameter) {
        weights_.insert(layout.shape);
        if (layout.shape.size() != 2) continue;
        last_matrix_ = layout.shape[0];
        if (layout.shape[0] < kSmallestVocabulary || layout.shape[0] <= layout.shape[1]) continue;
        outputs_.insert(layout.shape[0]);
        if (NamesEmbedding(tensor.name.str())) classes_.insert(layout.shape[0]);
      } else if (IsInteger(layout.dtype) && (tensor.category == Category::kInput || tensor.host_copied)) {
        labels_.insert(Elements(layout.shape));
      }
    }
    FindEmbeddings();
    FindLosses();
  }

  bool Is(const std::vector<int64_t>& shape) const {
    if (shape.size() < 2 || !outputs_.contains(shape.back()) || weights_.contains(shape)) return false;
    if (!labels_.empty() && !HasLabels(Rows(shape))) return false;
    return classes_.contains(shape.back()) || (shape.back() == last_matrix_ && labels_.contains(Rows(shape)));
  }

 private:
  // A row for each label, or for all but those that a shift by one or padding leaves out.
  bool HasLabels(int64_t rows) const {
    const auto enough = labels_.lower_bound(rows);
    return enough != labels_.end() && 2 * rows > *enough;
  }

  static int64_t Elements(const std::vector<int64_t>& shape) { return shape.empty() ? 1 : Rows(shape) * shape.back(); }

  void FindEmbeddings() {
    std::set<std::string> tables;
    for (const Module& module : t_.modules) {
      if (absl::StrContains(module.type, "Embedding")) tables.insert(module.path + ".weight");
    }
    for (const Tensor& tensor : t_.tensors) {
      if (tensor.category != Category::kParameter || tensor.layout == 0 || !tables.contains(tensor.name.str()))
        continue;
      const std::vector<int64_t>& shape = t_.layouts[tensor.layout].shape;
      if (!shape.empty()) classes_.insert(shape[0]);
    }
  }

  void FindLosses() {
    const auto note = [&](uint32_t stack, uint32_t layout) {
      if (stack >= in_loss_.size() || !in_loss_[stack] || layout == 0) return;
      const std::vector<int64_t>& shape = t_.layouts[layout].shape;
      if (shape.size() > 1) classes_.insert(shape.back());
    };
    for (const Tensor& tensor : t_.tensors) note(tensor.stack, tensor.layout);
    for (const OutOfMemory& refusal : t_.out_of_memory) note(refusal.stack, refusal.layout);
  }

  const Timeline& t_;
  const std::vector<bool>& in_loss_;
  std::set<std::vector<int64_t>> weights_;
  std::set<int64_t> outputs_;  // row counts of large matrices
  std::set<int64_t> classes_;  // widths that something says are classes
  std::set<int64_t> labels_;   // element counts of integer inputs
  int64_t last_matrix_ = 0;    // rows of the matrix made last: an output layer stands at the end of a model
};

}  // namespace

Logits::Logits(const Timeline& timeline) {
  in_loss_.resize(timeline.stacks.size());
  for (size_t i = 0; i < timeline.stacks.size(); ++i) {
    const std::vector<uint32_t>& frames = timeline.stacks[i].frames;
    in_loss_[i] = std::any_of(frames.begin(), frames.end(), [&](uint32_t frame) {
      return frame < timeline.frames.size() && IsLossFunction(timeline.frames[frame].function);
    });
  }
  const Evidence evidence(timeline, in_loss_);
  is_.reserve(timeline.layouts.size());
  for (const Layout& layout : timeline.layouts) is_.push_back(evidence.Is(layout.shape));
}

}  // namespace oomtrace
