#include "interpose/record/recorder.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>
#include <new>

#include "interpose/record/events.h"
#include "interpose/record/memory.h"
#include "interpose/record/process_info.h"
#include "interpose/record/settings.h"
#include "interpose/record/test_point.h"

namespace oomtrace {

constinit thread_local ThreadState* thread_state __attribute__((tls_model("initial-exec"))) = nullptr;
constinit ProcessPage* process_page = nullptr;

namespace {

constexpr size_t kPage = 4096;

pthread_key_t thread_key;
void (*start_callback)(Recorder&) = nullptr;
void (*exit_callback)() = nullptr;

uint32_t ThreadId() { return static_cast<uint32_t>(syscall(SYS_gettid)); }

// As the kernel has it (pthread_setname_np), where it is not the program's own. The main thread needs none.
void NoteOwnName(ThreadState& thread) {
  constexpr size_t kLongest = 16;  // TASK_COMM_LEN
  char own[kLongest] = {}, program[kLongest + 1] = {};
  const uint32_t id = thread.events.thread();
  if (id == static_cast<uint32_t>(getpid()) || prctl(PR_GET_NAME, own) != 0) return;
  Text<32> path;
  path.Add("/proc/").AddNumber(static_cast<uint64_t>(getpid())).Add("/comm");
  const size_t size = ReadFile(path.c_str(), program, kLongest);
  if (size > 0 && program[size - 1] == '\n') program[size - 1] = 0;
  if (strcmp(own, program) != 0) thread.recorder->facts().ThreadName(id, own);
}

// At thread exit. Later destructors of the thread may still free device memory: they attach anew.
void DetachThread(void* state) {
  auto* thread = static_cast<ThreadState*>(state);
  thread_state = nullptr;
  if (process_page->recorder.load(std::memory_order_acquire) == thread->recorder) thread->recorder->Detach(thread);
}

using PathLine = Text<2 * sizeof(TracePath) + 256>;

// As a shell needs it, on one line: as it is where nothing in it is special, else 'so', else $'so\x0a'.
void AddQuoted(PathLine& line, const char* path) {
  constexpr char kPlain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:+@%=-,";
  if (path[strspn(path, kPlain)] == 0) {
    line.Add(path);
    return;
  }
  bool escape = false;
  for (const char* c = path; *c != 0; ++c) escape |= *c == '\'' || static_cast<unsigned char>(*c) < ' ';
  line.Add(escape ? "$'" : "'");
  for (const char* c = path; *c != 0; ++c) {
    const auto byte = static_cast<unsigned char>(*c);
    if (escape && (byte < ' ' || byte == '\'' || byte == '\\')) {
      constexpr char kDigits[] = "0123456789abcdef";
      const char code[] = {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
      line.Add(code, sizeof(code));
    } else {
      line.Add(c, 1);
    }
  }
  line.Add("'");
}

// Where the trace is. Once: an exit handler may call _exit().
void SayWhere(const Recorder& recorder) {
  static std::atomic<uint32_t> said_by{0};  // a process; its forked children speak for themselves
  const auto self = static_cast<uint32_t>(getpid());
  if (said_by.exchange(self, std::memory_order_relaxed) == self) return;
  static PathLine line;  // too large for the stack of a signal handler
  line.Clear();
  line.Add(recorder.out_of_memory() ? "CUDA out of memory was recorded in " : "recorded ");
  AddQuoted(line, recorder.path());
  line.Add("; run: oomtrace analyze ");
  AddQuoted(line, recorder.path());
  SayLine(line.c_str());
}

void AtExit(int status, void*) {
  Recorder* recorder = process_page->recorder.load(std::memory_order_acquire);
  if (recorder == nullptr || recorder->state() != State::kRecording) return;
  if (exit_callback != nullptr) exit_callback();
  {
    Entry entry(Cause::kFact);
    if (entry) {
      RecordExit(entry.thread(), status);
      entry.thread().events.Finish();
      recorder->facts().Finish();
    }
  }
  recorder->SayDiskFull();
  if (recorder->out_of_memory() || Verbose()) SayWhere(*recorder);
}

// poll() and writev() are where a thread that is to be cancelled ends; what called us is none.
class NotCancelled {
 public:
  NotCancelled() { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
  ~NotCancelled() { pthread_setcancelstate(before_, nullptr); }
  NotCancelled(const NotCancelled&) = delete;
  NotCancelled& operator=(const NotCancelled&) = delete;

 private:
  int before_ = 0;
};

}  // namespace

bool Verbose() { return SwitchedOn("OOMTRACE_VERBOSE", false); }

void SayLine(const char* text) {
  // A closed stderr is nobody's fault, and one that nobody reads must not hold up the job.
  pollfd stream = {STDERR_FILENO, POLLOUT, 0};
  const NotCancelled whole;
  if (poll(&stream, 1, 0) != 1 || (stream.revents & POLLOUT) == 0) return;
  // A broken pipe raises SIGPIPE, which would end the process: it is held back and taken off.
  const SignalsHeldBack quiet;
  sigset_t pending;
  sigpending(&pending);
  const bool was_pending = sigismember(&pending, SIGPIPE) == 1;
  // One write, so that lines of several ranks do not mix.
  char begin[] = "oomtrace: ", end[] = "\n";
  const iovec line[] = {{begin, strlen(begin)}, {const_cast<char*>(text), strlen(text)}, {end, strlen(end)}};
  if (writev(STDERR_FILENO, line, 3) >= 0 || errno != EPIPE || was_pending) return;
  sigset_t broken_pipe;
  sigemptyset(&broken_pipe);
  sigaddset(&broken_pipe, SIGPIPE);
  constexpr timespec kNow = {0, 0};
  sigtimedwait(&broken_pipe, nullptr, &kNow);
}

void Recorder::Initialize() {
  if (process_page != nullptr || !SwitchedOn("OOMTRACE", true)) return;
  void* page = MapMemory(kPage);
  if (page == nullptr || madvise(page, kPage, MADV_WIPEONFORK) != 0) return;
  if (pthread_key_create(&thread_key, DetachThread) != 0) return;
  process_page = static_cast<ProcessPage*>(page);
}

void Recorder::OnStart(void (*callback)(Recorder&)) { start_callback = callback; }
void Recorder::OnExit(void (*callback)()) { exit_callback = callback; }

Recorder* Recorder::Current() {
  if (process_page == nullptr) return nullptr;
  Recorder* recorder = process_page->recorder.load(std::memory_order_acquire);
  if (recorder != nullptr) [[likely]]
    return recorder;
  return Make();
}

Recorder* Recorder::Make() {
  void* memory = MapMemory(sizeof(Recorder));
  if (memory == nullptr) return nullptr;
  // Zeroed memory is the initial state of everything in it; constructing it would touch megabytes of tables.
  auto* made = static_cast<Recorder*>(memory);
  made->state_.store(State::kArmed, std::memory_order_relaxed);
  Recorder* recorder = nullptr;
  if (process_page->recorder.compare_exchange_strong(recorder, made, std::memory_order_acq_rel)) return made;
  munmap(memory, sizeof(Recorder));
  return recorder;
}

void Recorder::CountDropped() {
  file_.header()->dropped_events.fetch_add(1, std::memory_order_relaxed);
  SayDiskFull();
}

void Recorder::SayDiskFull() {
  if (!file_.lost_to_full_disk() || said_disk_full_.exchange(true, std::memory_order_relaxed)) return;
  Text<512> line;
  line.Add("no room for the trace on its disk (").Add(strerrordesc_np(file_.disk_error()));
  line.Add("): from here on it is incomplete: ").AddEnd(path_.c_str(), TraceFile::kShownPath);
  SayLine(line.Add("; set OOMTRACE_DIR to a folder with more room").c_str());
}

void Recorder::NoteExitWithoutHandlers(int status) {
  if (process_page == nullptr) return;
  Recorder* recorder = process_page->recorder.load(std::memory_order_acquire);
  if (recorder == nullptr || recorder->state() != State::kRecording) return;
  TraceHeader* header = recorder->file_.header();
  // A child of vfork runs in its parent's memory.
  if (header->pid != static_cast<uint32_t>(getpid())) return;
  header->exit_status.store(status, std::memory_order_relaxed);
  header->exit_ticks.store(Ticks(), std::memory_order_release);
  if (recorder->out_of_memory()) SayWhere(*recorder);  // reads no environment then: setenv may be under way
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
    if (path_.cut()) {
      reason_.Add("the path of the trace is too long: set OOMTRACE_DIR to a directory with a short name");
      return false;
    }
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
    OOMTRACE_TEST_POINT("start: file open");
    WriteProcess(facts_, {});
    OOMTRACE_TEST_POINT("start: process written");
    file_.header()->state.store(static_cast<uint32_t>(State::kRecording), std::memory_order_release);
    OOMTRACE_TEST_POINT("start: state in the header");
    state_.store(State::kRecording, std::memory_order_release);
  }
  // A forked child has inherited the registration, as it has this variable.
  static std::atomic<bool> registered{false};
  if (!registered.exchange(true)) on_exit(AtExit, nullptr);
  SayNonsense();
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
  if (thread != nullptr) {
    thread->events.ChangeThread(ThreadId());
  } else {
    static_assert(sizeof(ThreadState) <= kPage);
    void* memory = MapMemory(kPage);
    if (memory == nullptr) return nullptr;
    thread = new (memory) ThreadState{};
    thread->recorder = this;
    thread->events.Bind(&file_, ChunkKind::kEvents, ThreadId());
  }
  thread->next_free = nullptr;
  thread->busy = false;
  thread->refused_at = 0;
  thread->request = {};
  thread->segment_asked = false;
  thread_state = thread;
  pthread_setspecific(thread_key, thread);
  NoteOwnName(*thread);
  return thread;
}

void Recorder::Detach(ThreadState* thread) {
  SpinLockHolder hold(lock_);
  thread->next_free = free_threads_;
  free_threads_ = thread;
}

ThreadState* Entry::EnterOtherwise(Cause cause) {
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
