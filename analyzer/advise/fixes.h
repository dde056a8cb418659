// The families of fixes. Each adds to the advisor's list what helps in this trace, with a prediction.
#pragma once

#include "analyzer/advise/advisor.h"

namespace oomtrace {

void StopLeak(Advisor& a);              // leak_fixes.cc
void FreeOthers(Advisor& a);            // outside_fixes.cc: other processes
void FreeCupyPool(Advisor& a);          //   CuPy's pool beside PyTorch's
void RaiseLimit(Advisor& a);            //   a memory limit of the process's own
void ReleasePools(Advisor& a);          // pool_fixes.cc: private pools that the program is done with
void SharePools(Advisor& a);            //   one pool for all graphs
void KeepFewerGraphs(Advisor& a);       //   as many graphs as fit
void DropKeptOutputs(Advisor& a);       // evaluation_fixes.cc: results kept from batch to batch
void EmptyKvCache(Advisor& a);          //   a cache of keys and values that grows
void StopEvaluationGraphs(Advisor& a);  //   a graph kept for nothing
void ShrinkEvaluation(Advisor& a);      //   the same, and a batch too large
void BoundBatch(Advisor& a);            // batch_fixes.cc: the largest batch
void ShrinkMicroBatch(Advisor& a);      //   a smaller micro-batch, the same effective batch
void GrowSegments(Advisor& a);          //   expandable segments
void ChunkLogits(Advisor& a);           // model_fixes.cc
void Checkpoint(Advisor& a);
void FreezeUntrained(Advisor& a);  //   a network that no optimizer trains
void MoveLateAllocation(Advisor& a);
void KeepDataOnHost(Advisor& a);        //   what was copied to the card before any model ran
void ShrinkOptimizerState(Advisor& a);  // state_fixes.cc
void StepWithoutTemporaries(Advisor& a);
void FitParameters(Advisor& a);   //   where a model does not fit that nothing shows to be trained
void FitStates(Advisor& a);       //   where the model's states alone exceed the card
void DropDeadWeight(Advisor& a);  // waste_fixes.cc: what a timeline shows to be used no more

// A program without PyTorch: all that can be said of it.
void AdviseDeviceProgram(Diagnosis& diagnosis);

}  // namespace oomtrace
