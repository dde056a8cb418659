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
      {"leak", LeakDirectly},  {"leak_in_stream_order", LeakInStreamOrder},
      {"too_large", TooLarge}, {"late", Late},
      {"ahead", Ahead},        {"threads", Threads},
      {"well", Well},
  };
  for (size_t i = 0; i < sizeof kModes / sizeof kModes[0]; ++i)
    if (count == 2 && strcmp(arguments[1], kModes[i].name) == 0) return kModes[i].run();
  fprintf(stderr, "usage: %s leak|leak_in_stream_order|too_large|late|ahead|threads|well\n", arguments[0]);
  return 2;
}
