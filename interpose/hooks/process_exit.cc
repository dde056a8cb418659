// The end of a process without exit handlers: os._exit, and what multiprocessing's children end by. Its status is
// noted, no more; the real function, found when the library was loaded, ends the process. Callable where it is: in a
// signal handler, in a child of vfork. exit() and the C library's own calls do not come by here.
#include <sys/syscall.h>
#include <unistd.h>

#include "interpose/hooks/real.h"
#include "interpose/record/recorder.h"

using namespace oomtrace;

namespace {

[[noreturn]] void End(HookId id, int status) {
  Recorder::NoteExitWithoutHandlers(status);
  if (void* real = KnownReal(id)) reinterpret_cast<void (*)(int)>(real)(status);
  for (;;) syscall(SYS_exit_group, status);
}

}  // namespace

OOMTRACE_EXPORT void _exit(int status) { End(HookId::kExitNow, status); }
OOMTRACE_EXPORT void _Exit(int status) { End(HookId::kExitNowC99, status); }
