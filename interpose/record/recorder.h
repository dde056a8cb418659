// The recorder of this process: its state, its file, its threads.
//
//     Off        OOMTRACE=0, or the library is not initialised yet: every hook only passes through
//     Armed      watching; no file exists
//     Recording  from the first touch of CUDA memory on
//     Disabled   for the rest of the process, for a reason that is in the header (if there is one) and said once
//
// A child made by fork or clone starts Armed with a recorder of its own: the pointer to the recorder lives on a page
// that the kernel wipes in the child (MADV_WIPEONFORK), so nothing has to run at the fork. vfork and exec share or
// replace the whole address space and leave the parent's recorder alone.
#pragma once

#include <errno.h>

#include <atomic>
#include <cstdint>

#include "interpose/record/chunk_writer.h"
#include "interpose/record/facts.h"
#include "interpose/record/format.h"
#include "interpose/record/library_map.h"
#include "interpose/record/trace_file.h"
#include "interpose/record/trace_name.h"

namespace oomtrace {

class Recorder;

// Of a pluggable allocator, which may answer by an exception: then nobody hears of it until something else is called.
struct PluggableRequest {
  const void* frame;  // of the hook that waits for the answer; nullptr: none does
  uint64_t bytes;
  uint32_t device;
  uint32_t stack, layout, context;  // who asked
};

// What one thread needs to record. Outlives its thread: the next new thread takes it over, with its chunk.
struct ThreadState {
  Recorder* recorder;
  ChunkWriter events;
  bool busy;  // inside the recorder: what nests (a signal handler, our own calls) is not recorded
  ThreadState* next_free;
  bool segment_asked;  // the caching allocator is asking a pluggable one for a segment: what comes next is no tensor
  PluggableRequest request;
  uint64_t refused_at;  // ns, of CLOCK_MONOTONIC_COARSE: a refusal whose exception has not been seen, 0: none
};

class Recorder {
 public:
  // The recorder of this process, made if need be; nullptr where it is Off.
  static Recorder* Current();
  // Once, before any hook can matter. OOMTRACE=0 leaves it Off.
  static void Initialize();
  // Run at the change from Armed to Recording, under no lock of the recorder; may write facts.
  static void OnStart(void (*callback)(Recorder&));
  // Run at exit(), before the last event, while it is recording.
  static void OnExit(void (*callback)());

  State state() const { return state_.load(std::memory_order_acquire); }
  // Armed → Recording or Disabled. True where it is recording afterwards.
  bool Start();
  void Disable(const char* reason);

  // This thread's state, made on first use; nullptr where memory is out.
  ThreadState* Attach();
  void Detach(ThreadState* thread);

  Facts& facts() { return facts_; }
  LibraryMap& libraries() { return libraries_; }
  const char* path() const { return path_.c_str(); }
  const char* reason() const { return reason_.c_str(); }

  // Out of line: what the hot path does otherwise takes no locked instruction (tests/test_fast_path.py).
  [[gnu::cold, gnu::noinline]] void CountDropped();
  void CountFailedStack() { file_.header()->failed_stacks.fetch_add(1, std::memory_order_relaxed); }
  void CountUnknownCall() { file_.header()->unknown_calls.fetch_add(1, std::memory_order_relaxed); }

  // _exit(): at any moment, in a signal handler or in a child of vfork too. Two stores to the header, no lock; then the
  // line about a death, as at exit().
  static void NoteExitWithoutHandlers(int status);

  // Whether the line about it is to be printed at exit.
  void NoteOutOfMemory() { out_of_memory_.store(true, std::memory_order_relaxed); }
  bool out_of_memory() const { return out_of_memory_.load(std::memory_order_relaxed); }

  // Once: that the disk is full, if events were lost by it.
  void SayDiskFull();

 private:
  bool OpenFile();
  [[gnu::cold, gnu::noinline]] static Recorder* Make();

  std::atomic<State> state_;
  std::atomic<bool> out_of_memory_;
  std::atomic<bool> said_disk_full_;
  SpinLock lock_;  // starting, and the list of free thread states
  ThreadState* free_threads_;
  TraceFile file_;
  TracePath path_;
  Reason reason_;
  Facts facts_;
  LibraryMap libraries_;
};

enum class Cause {
  kMemory,  // CUDA memory was touched: starts the recording
  kFact,    // worth recording only while a recording runs
};

extern constinit thread_local ThreadState* thread_state __attribute__((tls_model("initial-exec")));

// What the kernel wipes in a forked child; nullptr: Off.
struct ProcessPage {
  std::atomic<Recorder*> recorder;
};
extern ProcessPage* process_page;

// This thread inside the recorder. False where nothing is to be recorded. Leaves errno as it was.
class Entry {
 public:
  explicit Entry(Cause cause) : errno_(errno), thread_(Enter(cause)) {}
  ~Entry() {
    if (thread_ != nullptr) thread_->busy = false;
    errno = errno_;
  }
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

  explicit operator bool() const { return thread_ != nullptr; }
  ThreadState& thread() const { return *thread_; }
  Recorder& recorder() const { return *thread_->recorder; }

 private:
  static ThreadState* Enter(Cause cause) {
    if (process_page == nullptr) return nullptr;
    ThreadState* thread = thread_state;
    Recorder* recorder = process_page->recorder.load(std::memory_order_acquire);
    const bool known = thread != nullptr && thread->recorder == recorder;
    if (!known || recorder->state() != State::kRecording || thread->busy) [[unlikely]]
      return EnterOtherwise(cause);
    thread->busy = true;
    return thread;
  }
  // The first time in a process or on a thread, and where nothing is recorded.
  [[gnu::noinline]] static ThreadState* EnterOtherwise(Cause cause);

  int errno_;
  ThreadState* thread_;
};

// One line to stderr, without stdio: "oomtrace: <text>".
void SayLine(const char* text);
// OOMTRACE_VERBOSE=1.
bool Verbose();

}  // namespace oomtrace
