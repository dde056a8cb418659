// Private pools of PyTorch's allocator: those of CUDA graphs, and MemPools.
#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "analyzer/advise/fixes.h"
#include "analyzer/diagnose/words.h"

namespace oomtrace {

// The graph or the pool has to go: as long as somebody has it, empty_cache() leaves its segments alone.
void ReleasePools(Advisor& a) {
  const int64_t idle = a.facts().private_idle;
  if (!a.Worth(idle)) return;
  Prediction p;
  p.reserved = std::max<int64_t>(0, a.killed_at() - idle);
  p.headroom = a.facts().device.free() + a.facts().unallocated() + idle - a.facts().requested;
  p.fits = p.headroom >= 0;
  a.Add("release_private_pools", "Let go of what private pools keep",
        absl::StrCat("delete the torch.cuda.MemPool or CUDA graph that the program is done with (every reference, and "
                     "the tensors made in it) before this request: ",
                     Bytes(idle),
                     " of theirs are idle, which torch.cuda.empty_cache() does not give back while the pool is there; "
                     "or make what did not fit inside the same pool"),
        p, "a graph has to be captured again before it is replayed");
}

// The recorded stream with all pools as one: what one capture has freed serves the next.
void SharePools(Advisor& a) {
  if (a.d().pools.count < 2 || !a.KnowsAllocator()) return;
  const Prediction p = a.predictor().WithOnePrivatePool();
  if (!p.fits || !a.Worth(a.killed_at() - p.reserved)) return;
  a.Add("share_private_pool", "Let all graphs share one memory pool",
        absl::StrCat("make pool = torch.cuda.graph_pool_handle() once and capture each graph with "
                     "torch.cuda.graph(graph, pool=pool) (of several torch.cuda.MemPool: use one): what one capture "
                     "frees serves the next, where ",
                     a.d().pools.count, " pools now keep ", Bytes(a.d().pools.bytes)),
        p,
        "graphs of one pool must not run at the same time; what a replay writes into memory that another graph shares "
        "is lost with the other's replay: copy such results first");
}

// Of what was captured so far, as many graphs as fit beside everything else.
void KeepFewerGraphs(Advisor& a) {
  const PrivatePools& pools = a.d().pools;
  if (pools.largest == 0) return;
  const int64_t without = a.killed_at() - pools.bytes;
  const int64_t room = a.facts().available() - without;
  const int64_t most = std::min(room / pools.largest, pools.count / 2);
  if (most < 1) return;
  Prediction p;
  p.reserved = without + most * pools.largest;
  p.headroom = a.facts().available() - p.reserved;
  p.fits = true;
  a.Add(
      "fewer_graphs", "Keep fewer graphs",
      absl::StrCat("capture a few fixed sizes and pad each batch to the next of them, or let go of the graph that was "
                   "used longest ago (graph.reset(), and every tensor made in its capture): one costs up to ",
                   Bytes(pools.largest), "; here with ", Count(most, "graph"), " at a time instead of ", pools.count),
      p, "work on padding, or a graph has to be captured again");
}

}  // namespace oomtrace
