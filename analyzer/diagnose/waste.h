// Which tensors cost bytes without need, by what the launches of a window did with them: one tensor at a time.
//
// A claim rests on what was seen, never on what might be: a use counts wherever a launch has the address, whatever it
// does with it. Nothing is claimed of a tensor that work may have used of which it is not known what it uses; of
// workspaces and blocks without a shape, for libraries use them by themselves; nor of one that lives on when the window
// ends, unless a whole step went by without it or its like in earlier steps had no use left. What the window's last
// step made, and the window does not show to its end, is judged as its like of the step before, as long as it was used
// alike.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "analyzer/diagnose/facts.h"
#include "analyzer/diagnose/likes.h"
#include "analyzer/diagnose/statements.h"
#include "analyzer/replay/altered.h"

namespace oomtrace {

enum class WasteKind : uint8_t {
  kDead,       // not used between its last use and its end
  kNeverRead,  // written, never read
  kUnused,     // made before the window, not used in it
  kDuplicate,  // a copy of another tensor; neither was changed while both lived
  kTooEarly,   // allocated before it was needed
};
const char* WasteName(WasteKind kind);  // "never_read"

struct Wasted {
  uint32_t tensor = 0;
  WasteKind kind = WasteKind::kDead;
  std::vector<OtherLife> lives;  // what it, and for a duplicate the original, would need
  int64_t original = -1;         // of a duplicate: index into Timeline::tensors
  Frame after;                   // the statement after which it could go; or before which it could come
  bool open = false;             // it lived on when the window ended
};

class WasteFinder {
 public:
  // `window` ends at the death where there is one in it.
  WasteFinder(const Facts& facts, const GpuTime::Window& window);

  // What is wasted of a tensor at `moment`; with kNever, at any time of the window.
  std::optional<Wasted> Judge(uint32_t index, int64_t moment) const;

  int64_t whole_steps() const { return whole_steps_; }

 private:
  // What all of its like in the step before the last one are.
  struct Precedent {
    WasteKind kind;
    int64_t uses;  // of each; -1: not the same number
  };

  // By what was seen of it.
  std::optional<Wasted> JudgeByUses(uint32_t index, int64_t moment) const;
  // By what was seen of its like in the step before, which is seen for longer.
  std::optional<Wasted> JudgeByLikes(uint32_t index, int64_t moment) const;
  std::optional<Precedent> PrecedentOf(uint32_t index) const;

  std::optional<Wasted> NotRead(uint32_t index, const TensorAccess* access) const;
  std::optional<Wasted> Duplicate(uint32_t index, const TensorAccess& access) const;
  std::optional<Wasted> CopyOf(uint32_t index, const TensorAccess& access) const;
  std::optional<Wasted> Bounds(uint32_t index, const TensorAccess& access, int64_t moment) const;

  const Tensor& T(uint32_t index) const { return t_.tensors[index]; }
  const TensorAccess* AccessOf(int64_t index) const;
  int64_t Begin(const Tensor& tensor) const { return std::max(tensor.born, window_.begin); }
  int64_t End(const Tensor& tensor) const { return std::min(tensor.died, window_.end); }
  bool Ended(const Tensor& tensor) const { return tensor.died <= window_.end; }
  // Whether nothing can have used it after the window: it was freed, or the process ended with the window.
  bool Over(const Tensor& tensor) const;
  bool WholeStepIn(int64_t begin, int64_t end) const;
  // Whether its like of earlier steps were used as often as it was, and no more, or never read as it was not.
  bool LikeItsLikes(uint32_t index, const TensorAccess* access, bool unread) const;
  bool OnlyAddedTo(const Tensor& tensor, const TensorAccess& access) const;
  bool NotNeededYet(const Tensor& tensor, const TensorAccess* access) const;
  // When it could have been freed after its last use, and the statement after which nothing of the user's needs it.
  StatementEdge Released(const Tensor& tensor, const TensorAccess& access) const;
  // Where the autograd engine used it last: when the engine lets go of it, kNever: it does not.
  int64_t ReleasedByGraph(const TensorAccess& access) const;

  const Facts& facts_;
  const Timeline& t_;
  const GpuTime& gpu_;
  GpuTime::Window window_;
  bool to_exit_ = false;  // the window lasted until the process ended
  Statements statements_;
  Likes likes_;
  int64_t whole_steps_ = 0;
};

}  // namespace oomtrace
