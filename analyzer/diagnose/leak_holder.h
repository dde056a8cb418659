// Who keeps what leaks: of the Python names that the recorder found for leaked tensors, the one that they share.
//
// Each name is an expression and, in parentheses, where it stands: "Trainer.history[12]", "losses[3] (local of
// train(), train.py:88)", "graph of total_loss (a scalar; local of train(), train.py:88)".
#pragma once

#include <string>
#include <vector>

#include "analyzer/diagnose/facts.h"
#include "analyzer/diagnose/leak.h"

namespace oomtrace {

// The name without what tells one leaked tensor from the next: `snapshots[3].fc.weight` and `snapshots[4].fc.bias` are
// kept by `snapshots`. "" where no leaked tensor has a name.
std::string HolderOf(const Facts& facts, const Leak& leak);

// Who else has to let go before the memory comes back: a second name of the same tensors, or of a tenth and more of
// what leaks.
std::vector<std::string> OtherHoldersOf(const Facts& facts, const Leak& leak);

// Takes out the groups whose holder has a limit of its own (deque(maxlen=...), lru_cache(maxsize=...)) that it reaches
// before the device is full: growth until then is no leak. Each addition of a leak counts as one entry.
void LeaveOutWhatHasALimit(const Facts& facts, Leak& leak);

// Whether a name says that the autograd graph of a tensor that somebody holds is the keeper.
bool KeptByGraph(const std::string& holder);
// Whether graphs keep what leaks: the names tell, and what FindLeak() supposed stands where they do not. Of tensors
// that containers hold themselves (states, actions and rewards of a replay buffer) no graph is to blame, though they
// are several a step and made with gradients on.
bool LeaksGraphs(const Facts& facts, const Leak& leak);
// The tensor, or the container of tensors, that such a graph hangs from: the name without what says that it is a graph.
std::string GraphOwner(const std::string& holder);

}  // namespace oomtrace
