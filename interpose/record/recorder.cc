#include "interpose/record/recorder.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <new>

#include "interpose/record/events.h"
#include "interpose/record/memory.h"
#include "interpose/record/process_info.h"

namespace oomtrace {

constinit thread_local ThreadState* thread_state __attribute__((tls_model("initial-exec"))) = nullptr;

namespace {

constexpr size_t kPage = 4096;

struct ProcessPage {  // wiped in a forked child
  std::atomic<Recorder*> recorder;
};

ProcessPage* process_page = nullptr;  // nullptr: Off
pthread_key_t thread_key;
void (*start_callback)(Recorder&) = nullptr;

uint32_t ThreadId() { return static_cast<uint32_t>(syscall(SYS_gettid)); }

bool IsSet(const char* name, char value) {
  const char* text = getenv(name);
  return text != nullptr && text[0] == value && text[1] == 0;
}

// At thread exit. Later destructors of the thread may still free device memory: they attach anew.
void DetachThread(void* state) {
  auto* thread = static_cast<ThreadState*>(state);
  thread_state = nullptr;
  if (process_page->recorder.load(std::memory_order_acquire) == thread->recorder) thread->recorder->Detach(thread);
}

// As a shell needs it: as it is where nothing in it is special.
void AddQuoted(Text<2 * sizeof(TracePath)>& line, const char* path) {
  const bool plain =
      strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:+@%=-,") == strlen(path);
  if (!plain) line.Add("'");
  line.Add(path);
  if (!plain) line.Add("'");
}

void AtExit(int status, void*) {
  Recorder* recorder = process_page->recorder.load(std::memory_order_acquire);
  if (recorder == nullptr || recorder->state() != State::kRecording) return;
  {
    Entry entry(Cause::kFact);
    if (entry) {
      RecordExit(entry.thread(), status);
      entry.thread().events.Finish();
      recorder->facts().Finish();
    }
  }
  if (!recorder->out_of_memory() && !Verbose()) return;
  Text<2 * sizeof(TracePath)> line;
  line.Add(recorder->out_of_memory() ? "CUDA out of memory was recorded in " : "recorded ");
  line.Add(recorder->path()).Add("; run: oomtrace analyze ");
  AddQuoted(line, recorder->path());
  SayLine(line.c_str());
}

}  // namespace

bool Verbose() { return IsSet("OOMTRACE_VERBOSE", '1'); }

void SayLine(const char* text) {
  Text<2 * sizeof(TracePath) + 16> line;
  line.Add("oomtrace: ").Add(text).Add("\n");
  // One write, so that lines of several ranks do not mix; a closed stderr is nobody's fault.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.c_str(), line.size());
}

void Recorder::Initialize() {
  if (process_page != nullptr || IsSet("OOMTRACE", '0')) return;
  void* page = MapMemory(kPage);
  if (page == nullptr || madvise(page, kPage, MADV_WIPEONFORK) != 0) return;
  if (pthread_key_create(&thread_key, DetachThread) != 0) return;
  process_page = static_cast<ProcessPage*>(page);
}

void Recorder::OnStart(void (*callback)(Recorder&)) { start_callback = callback; }

Recorder* Recorder::Current() {
  if (process_page == nullptr) return nullptr;
  Recorder* recorder = process_page->recorder.load(std::memory_order_acquire);
  if (recorder != nullptr) [[likely]]
    return recorder;
  void* memory = MapMemory(sizeof(Recorder));
  if (memory == nullptr) return nullptr;
  // Zeroed memory is the initial state of everything in it; constructing it would touch megabytes of tables.
  auto* made = static_cast<Recorder*>(memory);
  made->state_.store(State::kArmed, std::memory_order_relaxed);
  if (process_page->recorder.compare_exchange_strong(recorder, made, std::memory_order_acq_rel)) return made;
  munmap(memory, sizeof(Recorder));
  return recorder;
}

void Recorder::Disable(const char* reason) {
  if (state() == State::kDisabled) return;
  if (reason_.c_str() != reason) {
    reason_.Clear();
    reason_.Add(reason);
  }
  state_.store(State::kDisabled, std::memory_order_release);
  if (file_.open()) {
    memcpy(file_.header()->reason, reason_.c_str(), reason_.size() + 1);
    file_.header()->state.store(static_cast<uint32_t>(State::kDisabled), std::memory_order_release);
  }
  Text<512> line;
  line.Add("not recording: ").Add(reason_.c_str());
  SayLine(line.c_str());
}

bool Recorder::OpenFile() {
  const uint64_t budget = BudgetBytes();
  int error = 0;
  for (int attempt = 0; attempt < kPathAttempts; ++attempt) {
    reason_.Clear();
    ComposeTracePath(attempt, &path_);
    if (file_.Open(path_.c_str(), budget, &reason_, &error)) return true;
    if (error != EEXIST) break;
  }
  return false;
}

bool Recorder::Start() {
  if (state() == State::kRecording) return true;
  if (state() != State::kArmed) return false;
  {
    SpinLockHolder hold(lock_);
    if (state() != State::kArmed) return state() == State::kRecording;
    if (!OpenFile()) {
      Disable(reason_.c_str());
      return false;
    }
    facts_.Bind(&file_, ThreadId());
    WriteProcess(facts_, {});
    file_.header()->state.store(static_cast<uint32_t>(State::kRecording), std::memory_order_release);
    state_.store(State::kRecording, std::memory_order_release);
  }
  on_exit(AtExit, nullptr);
  if (start_callback != nullptr) start_callback(*this);
  return true;
}

ThreadState* Recorder::Attach() {
  ThreadState* thread = nullptr;
  {
    SpinLockHolder hold(lock_);
    if (free_threads_ != nullptr) {
      thread = free_threads_;
      free_threads_ = thread->next_free;
    }
  }
  if (thread == nullptr) {
    static_assert(sizeof(ThreadState) <= kPage);
    void* memory = MapMemory(kPage);
    if (memory == nullptr) return nullptr;
    thread = new (memory) ThreadState{};
    thread->recorder = this;
    thread->events.Bind(&file_, ChunkKind::kEvents, ThreadId());
  }
  thread->next_free = nullptr;
  thread->busy = false;
  thread_state = thread;
  pthread_setspecific(thread_key, thread);
  return thread;
}

void Recorder::Detach(ThreadState* thread) {
  SpinLockHolder hold(lock_);
  thread->next_free = free_threads_;
  free_threads_ = thread;
}

ThreadState* Entry::Enter(Cause cause) {
  Recorder* recorder = Recorder::Current();
  if (recorder == nullptr) return nullptr;
  if (recorder->state() != State::kRecording) {
    if (cause != Cause::kMemory || !recorder->Start()) return nullptr;
  }
  ThreadState* thread = thread_state;
  if (thread == nullptr || thread->recorder != recorder) {
    thread = recorder->Attach();
    if (thread == nullptr) return nullptr;
  }
  if (thread->busy) {
    recorder->CountDropped();
    return nullptr;
  }
  thread->busy = true;
  return thread;
}

}  // namespace oomtrace
