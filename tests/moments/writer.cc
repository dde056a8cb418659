// writer SCRIPT PROGRESS N: goes through a script (script.h) with the recorder's own code, and kills itself at the
// N-th test point; 0: never. The trace is where OOMTRACE_FILE says; PROGRESS is a file that holds a Progress.
#include <fcntl.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <thread>

#include "interpose/record/events.h"
#include "interpose/record/live_set.h"
#include "interpose/record/test_point.h"
#include "tests/moments/script.h"

namespace oomtrace {
namespace {

using moments::Act;
using moments::Operation;

moments::Progress* progress;
uint64_t last_point;
std::set<std::string>* names;

Attribution Attribute(Recorder& recorder, const Operation& operation) {
  Attribution attribution;
  if (operation.line == 0) return attribution;
  const uint64_t hash = operation.line * 1000003;
  Facts& facts = recorder.facts();
  uint32_t frame = facts.FindFrame(hash);
  if (frame == 0) frame = facts.AddFrame(hash, "train.py", "step", operation.line);
  attribution.stack = facts.FindStack(hash);
  if (attribution.stack == 0) attribution.stack = facts.AddStack(hash, {&frame, 1, 0, 0, false});
  const uint64_t key = hash * 1000003 + operation.bytes;
  attribution.site = facts.FindSite(key);
  if (attribution.site == 0) attribution.site = facts.AddSite(key, {operation.bytes, attribution.stack, 0, 0, 0});
  return attribution;
}

// An event with a field that no reader knows.
void WriteLarge(ThreadState& thread, uint32_t kind, uint64_t address, uint64_t bytes) {
  constexpr uint32_t kUnknownField = 15;
  static const std::string filler(moments::kFillerBytes, 'x');
  uint8_t* room = thread.events.Room(bytes + 64);
  if (room == nullptr) return;
  ProtoWriter proto(room, bytes + 64);
  uint8_t* message = proto.Begin(kind);
  proto.Uint(1, thread.events.TicksSince(Ticks()));
  if (address != 0) proto.Sint(2, thread.events.BlockDelta(address));
  proto.Bytes(kUnknownField, filler.data(), bytes);
  proto.End(message);
  thread.events.Commit(proto.position());
}

void Do(const Operation& operation) {
  Entry entry(Cause::kMemory);
  if (!entry) _exit(3);
  ThreadState& thread = entry.thread();
  DeviceCall call;
  call.address = operation.address;
  call.bytes = operation.bytes;
  switch (operation.act) {
    case Act::kAlloc:
      return RecordTensorAlloc(thread, operation.address, operation.bytes, 0, 1 << 24,
                               Attribute(entry.recorder(), operation));
    case Act::kFree:
      return RecordTensorFree(thread, operation.address, 0, 1 << 24);
    case Act::kRole:
      return RecordTensorRole(thread, {operation.address, operation.bytes, 1, 0, 0, 0});
    case Act::kHostCopy:
      return RecordHostCopy(thread, operation.address, operation.bytes, 0);
    case Act::kDeviceAlloc:
      return RecordDeviceAlloc(thread, Ticks(), call);
    case Act::kDeviceFree:
      return RecordDeviceFree(thread, Ticks(), call);
    case Act::kStepEnd:
      return RecordPhase(thread, wire::Phase::kOptimizerStepEnd, 5);
    case Act::kFiller:
      return WriteLarge(thread, wire::kHolder, 0, moments::kFillerBytes);
    case Act::kTooLarge:
      return WriteLarge(thread, wire::kTensorRole, operation.address, 2 * LiveMessage::kMost);
  }
}

void GoThrough(const std::vector<Operation>& script) {
  sem_t turn[2];
  for (sem_t& semaphore : turn) sem_init(&semaphore, 0, 0);
  sem_post(&turn[script[0].thread]);
  const auto run = [&](int thread) {
    for (size_t i = 0; i < script.size(); ++i) {
      if (script[i].thread != thread) continue;
      if (i == 0 || script[i - 1].thread != thread) sem_wait(&turn[thread]);
      Do(script[i]);
      progress->done = i + 1;
      if (i + 1 < script.size() && script[i + 1].thread != thread) sem_post(&turn[1 - thread]);
    }
  };
  std::thread other(run, 1);
  run(0);
  other.join();
}

}  // namespace

void ReachTestPoint(const char* name) {
  if (++progress->points == last_point) raise(SIGKILL);
  if (names != nullptr) names->insert(name);
}

}  // namespace oomtrace

int main(int count, char** arguments) {
  using namespace oomtrace;
  if (count != 4) return 2;
  const int file = open(arguments[2], O_RDWR);
  void* memory = mmap(nullptr, sizeof(moments::Progress), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) return 2;
  progress = static_cast<moments::Progress*>(memory);
  last_point = strtoull(arguments[3], nullptr, 10);
  if (last_point == 0) names = new std::set<std::string>;
  Recorder::Initialize();
  GoThrough(moments::Script(arguments[1]));
  if (names == nullptr) return 0;
  std::string lines;
  for (const std::string& name : *names) lines += name + "\n";
  memcpy(progress->names, lines.c_str(), std::min(lines.size() + 1, sizeof(progress->names)));
  progress->finished = 1;
  return 0;
}
