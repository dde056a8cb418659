// From a node of the backward graph to the Python stack of the forward that made it.
//
// Every node takes a sequence number when a forward operator makes it, from a counter of its thread; it keeps the
// number and the thread's id. The table remembers, for the last 65536 nodes, on which stack that was: where a graph is
// larger, its oldest nodes have no forward stack.
//
// Any thread, without a lock: the thread that runs a node reads what the thread of the forward wrote.
#pragma once

#include <cstdint>

#include "interpose/record/recorder.h"

namespace oomtrace {

// Finds how this version of PyTorch lays out its nodes; where it is not known there are no forward stacks. Called once,
// before any node is seen.
void ResolveForwardStacks();

// The calling thread makes a node of this number. With the thread's Entry held.
void NoteForward(const Recorder& recorder, uint64_t sequence, uint32_t stack);

// Stack.id of the forward that made `node`, a torch::autograd::Node; 0 where it is not known.
uint32_t ForwardStackOf(const Recorder& recorder, const void* node);

}  // namespace oomtrace
