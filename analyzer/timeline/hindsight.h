// What can only be said of a timeline once all of its events are in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "analyzer/timeline/timeline.h"

namespace oomtrace {

// Functional code has no module whose call marks the forward: what had gradients on and died in such a backward was it.
// `functional_backwards`: begins of the backward passes that no module's call came before, in order.
void RelabelFunctionalForwards(const std::vector<int64_t>& functional_backwards, Timeline* timeline);

// Where `with torch.no_grad():` stands inside an evaluation's loop, what the loop does between two batches (moving the
// next one to the device, joining the outputs) has gradients on and no module: it is part of the evaluation where three
// batches or more went through without training between them. After the last batch seen the same statements still are;
// a new one (a copy of the best model) is not.
void JoinEvaluations(Timeline* timeline);

// What runs in evaluation mode and with gradients on is known for a training forward by the backward that uses what it
// made, even where a model in training mode ran in between. Where the process died before that, two things tell: a
// training forward has called the same module from the same place before; or no optimizer trains the networks that ran
// since, each called once or twice: a teacher's or a loss network's part of a training forward. An evaluation runs the
// model that is trained, or runs batch after batch.
void RelabelForwardInEvaluationMode(Timeline* timeline);

// The class of the Python exception that nobody caught, with "of OutOfMemoryError" where that is behind it; "": none on
// record. A notebook notes the last one of its cells, whatever ended it.
std::string EndedBy(const Timeline& timeline);

// Marks the last refusal fatal if nothing that trains or infers came after it: `last_progress` is the time of the last
// such event. Freeing what the exception unwinds, and whatever a handler allocates outside a model, is not progress;
// nor is what other tasks and threads still do where PyTorch's exception ended the program. Of a process that went on,
// the first refusal that a thread died of is.
void MarkFatalRefusal(int64_t last_progress, Timeline* timeline);

void SetFirstTrainingForward(Timeline* timeline);

}  // namespace oomtrace
