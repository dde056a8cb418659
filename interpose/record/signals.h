// Signals of this thread held back while a lock of the recorder is held or a system call must not be interrupted. A
// handler that ran there could call a hook and wait for its own thread for ever, or leave by longjmp with the lock
// held.
//
// Two system calls: for the rare paths only. Signals that the thread raises itself (SIGSEGV, SIGBUS) still end it.
#pragma once

#include <pthread.h>
#include <signal.h>

namespace oomtrace {

class SignalsHeldBack {
 public:
  SignalsHeldBack() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsHeldBack() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsHeldBack(const SignalsHeldBack&) = delete;
  SignalsHeldBack& operator=(const SignalsHeldBack&) = delete;

 private:
  sigset_t before_;
};

}  // namespace oomtrace
