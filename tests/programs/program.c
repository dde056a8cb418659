// program MODE: takes device memory in one of several ways until there is none. Exit status 1 then, 2 for a wrong mode.
#include "program.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { kMiB = 1 << 20, kThreads = 4, kMost = 100000 };

static void Pause(void) {
  const struct timespec millisecond = {0, 1000000};
  nanosleep(&millisecond, NULL);
}

__attribute__((noinline)) static int KeepResult(int round, int (*take)(void**, size_t)) {
  void* kept = NULL;
  const int error = take(&kept, 64 * kMiB);
  if (error != 0) fprintf(stderr, "round %d: error %d\n", round, error);
  return error;
}

__attribute__((noinline)) static int Work(void) {
  void* scratch = NULL;
  const int error = TakeMemory(&scratch, 16 * kMiB);
  return error != 0 ? error : GiveMemoryBack(scratch);
}

// Each round works in memory that it gives back, and keeps a result that nobody frees.
static int Leak(int (*take)(void**, size_t)) {
  for (int round = 0; round < kMost; ++round) {
    if (Work() != 0 || KeepResult(round, take) != 0) return 1;
    Pause();
  }
  return 0;
}

static int LeakDirectly(void) { return Leak(TakeMemory); }
static int LeakInStreamOrder(void) { return Leak(TakeMemoryInStreamOrder); }

static int TooLarge(void) {
  void* all = NULL;
  return TakeMemory(&all, (size_t)1 << 40) != 0;
}

// Works in memory of one size for a while, and then needs far more of it than there is.
static int Late(void) {
  void* kept[3] = {NULL};
  for (int i = 0; i < 3; ++i)
    if (TakeMemory(&kept[i], (size_t)2048 * kMiB) != 0) return 1;
  for (int round = 0; round < 50; ++round)
    if (Work() != 0) return 1;
  void* late = NULL;
  return TakeMemory(&late, (size_t)6000 * kMiB) != 0;
}

// Three quarters of what is free in one piece, as JAX takes it, and then work in it.
static int Ahead(void) {
  size_t free_bytes = 0, total_bytes = 0;
  void* pool = NULL;
  if (AskDevice(&free_bytes, &total_bytes) != 0 || TakeMemory(&pool, total_bytes / 4 * 3) != 0) return 3;
  fprintf(stderr, "out of memory: the pool is full\n");
  return 1;
}

// All memory comes by this function: what is given back, and what is not.
__attribute__((noinline)) static int Allocate(void** memory, size_t bytes) {
  const int error = TakeMemory(memory, bytes);
  if (error != 0) fprintf(stderr, "error %d\n", error);  // not a tail call, of which no frame would be left
  return error;
}

// Of four small pieces that it makes beside a large one, three and the large one are given back.
static int LeakByHelper(void) {
  for (int round = 0; round < kMost; ++round) {
    void *large = NULL, *small = NULL;
    if (Allocate(&large, 200 * kMiB) != 0 || Allocate(&small, 16 * kMiB) != 0) return 1;
    if (round % 4 != 0 && GiveMemoryBack(small) != 0) return 1;
    if (GiveMemoryBack(large) != 0) return 1;
  }
  return 0;
}

// As many pieces as fit a few times over come by the same function and go again, the oldest first.
static int Queue(void) {
  enum { kPieces = 20 };
  void* pieces[kPieces] = {NULL};
  for (int round = 0; round < 40 * kPieces; ++round) {
    void** piece = &pieces[round % kPieces];
    if ((*piece != NULL && GiveMemoryBack(*piece) != 0) || Allocate(piece, 100 * kMiB) != 0) return 1;
  }
  void* late = NULL;
  return Allocate(&late, (size_t)11000 * kMiB) != 0;
}

// A leak that takes long: 512 pieces of work between two that stay.
static int LongLeak(void) {
  for (int round = 0; round < kMost; ++round) {
    for (int i = 0; i < 512; ++i)
      if (Work() != 0) return 1;
    if (KeepResult(round, TakeMemory) != 0) return 1;
  }
  return 0;
}

// One of the threads leaks; the other works by the same function and keeps nothing.
static void* WorkInThread(void* stop) {
  while (!__atomic_load_n((int*)stop, __ATOMIC_RELAXED)) {
    void* memory = NULL;
    if (Allocate(&memory, kMiB) != 0 || GiveMemoryBack(memory) != 0) break;
    Pause();
  }
  return NULL;
}

static int OneThread(void) {
  pthread_t worker;
  int stop = 0;
  pthread_create(&worker, NULL, WorkInThread, &stop);
  void* kept = NULL;
  while (Allocate(&kept, 100 * kMiB) == 0) Pause();
  __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
  pthread_join(worker, NULL);
  return 1;
}

static void* LeakInThread(void* died) {
  *(int*)died = LeakDirectly();
  return NULL;
}

static int Threads(void) {
  pthread_t threads[kThreads];
  int died[kThreads] = {0};
  for (int i = 0; i < kThreads; ++i) pthread_create(&threads[i], NULL, LeakInThread, &died[i]);
  for (int i = 0; i < kThreads; ++i) pthread_join(threads[i], NULL);
  return died[0] | died[1] | died[2] | died[3];
}

static int Well(void) {
  for (int round = 0; round < 20; ++round)
    if (Work() != 0) return 1;
  return 0;
}

int main(int count, char** arguments) {
  static const struct {
    const char* name;
    int (*run)(void);
  } kModes[] = {
      {"leak", LeakDirectly},
      {"leak_in_stream_order", LeakInStreamOrder},
      {"leak_by_helper", LeakByHelper},
      {"long_leak", LongLeak},
      {"one_thread", OneThread},
      {"queue", Queue},
      {"too_large", TooLarge},
      {"late", Late},
      {"ahead", Ahead},
      {"threads", Threads},
      {"well", Well},
  };
  for (size_t i = 0; i < sizeof kModes / sizeof kModes[0]; ++i)
    if (count == 2 && strcmp(arguments[1], kModes[i].name) == 0) return kModes[i].run();
  fprintf(stderr, "usage: %s", arguments[0]);
  for (size_t i = 0; i < sizeof kModes / sizeof kModes[0]; ++i) fprintf(stderr, " %s", kModes[i].name);
  fprintf(stderr, "\n");
  return 2;
}
