// growth MODE: what looks like a leak and is none, and leaks that hide. Exit status 1 where the device had no more, 2
// for a wrong mode.
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "program.h"

enum { kMiB = 1 << 20, kMost = 100000 };

static void Pause(void) {
  const struct timespec moment = {0, 200000};
  nanosleep(&moment, NULL);
}

// Not a tail call, of which no frame would be left.
static int failure;  // its address says that a task failed

#define PLACE(name)                                               \
  __attribute__((noinline)) static void* name(size_t bytes) {     \
    void* memory = NULL;                                          \
    const int error = TakeMemory(&memory, bytes);                 \
    if (error != 0) fprintf(stderr, #name ": error %d\n", error); \
    return error != 0 ? NULL : memory;                            \
  }
PLACE(TakeTable)
PLACE(TakeScratch)
PLACE(TakeRow)
PLACE(TakeColumn)
PLACE(TakeRegion)
PLACE(TakeWorkspace)
PLACE(TakeAnything)

static int Scratch(int times, size_t bytes) {
  for (int i = 0; i < times; ++i) {
    void* memory = TakeScratch(bytes);
    if (memory == NULL || GiveMemoryBack(memory) != 0) return 1;
  }
  return 0;
}

static int Tables(int count) {
  for (int i = 0; i < count; ++i)
    if (TakeTable(200 * kMiB) == NULL) return 1;
  return 0;
}

// Tables, a long time of work, and then more tables than there is room for.
static int Bursts(void) { return Tables(25) || Scratch(2000, 100 * kMiB) || Tables(60); }

static void* Worker(void* failed) {
  if (TakeWorkspace((size_t)1200 * kMiB) == NULL) {
    *(int*)failed = 1;
    return NULL;
  }
  if (Scratch(50, 4 * kMiB) != 0) *(int*)failed = 1;
  while (!__atomic_load_n((int*)failed, __ATOMIC_RELAXED)) Pause();  // its workspace is there as long as it is
  return NULL;
}

static void* Task(void* ignored) {
  (void)ignored;
  return TakeRow(100 * kMiB) == NULL || Scratch(3, 20 * kMiB) != 0 ? &failure : NULL;
}

// A thread for each task, which ends with it; each keeps what nobody gives back.
static int Tasks(void) {
  for (;;) {
    pthread_t thread;
    void* failed = NULL;
    pthread_create(&thread, NULL, Task, NULL);
    pthread_join(thread, &failed);
    if (failed != NULL) return 1;
  }
}

static int Workers(void) {
  enum { kWorkers = 12 };
  pthread_t threads[kWorkers];
  int failed = 0, started = 0;
  for (; started < kWorkers && !__atomic_load_n(&failed, __ATOMIC_RELAXED); ++started) {
    pthread_create(&threads[started], NULL, Worker, &failed);
    for (int i = 0; i < 100; ++i) Pause();
  }
  for (int i = 0; i < started; ++i) pthread_join(threads[i], NULL);
  return failed;
}

// Of each round two places keep one piece each.
static int TwoLeaks(void) {
  if (Scratch(50, kMiB) != 0) return 1;
  for (int round = 0; round < kMost; ++round)
    if (TakeRow(20 * kMiB) == NULL || TakeColumn(10 * kMiB) == NULL || Scratch(2, 40 * kMiB) != 0) return 1;
  return 0;
}

// One function serves a large table at the start, work, and what nobody gives back.
static int TableAndLeak(void) {
  if (TakeAnything((size_t)4000 * kMiB) == NULL) return 1;
  for (int round = 0; round < kMost; ++round) {
    void* scratch = TakeAnything(6 * kMiB);
    if (scratch == NULL || GiveMemoryBack(scratch) != 0) return 1;
    if (round % 10 == 0 && TakeAnything(24 * kMiB) == NULL) return 1;
  }
  return 0;
}

// Pieces a little larger than the device's page.
static int OddPieces(void) {
  if (Scratch(50, kMiB) != 0) return 1;
  for (int round = 0; round < kMost; ++round)
    if (TakeRow(2 * kMiB + 4096) == NULL || Scratch(1, 2 * kMiB) != 0) return 1;
  return 0;
}

// A pool that takes twice as much each time, as long as it gets it.
static int Doubling(void) {
  for (size_t region = 4 * kMiB;; region *= 2) {
    size_t bytes = region;
    while (TakeRegion(bytes) == NULL) {
      bytes = bytes / 8 * 7;
      if (bytes < kMiB) return 1;
    }
  }
}

// A cache grows, slowly; what dies is a request of a size that never came before.
static int Unheard(void) {
  for (int round = 0; round < 100; ++round)
    if (TakeRow(20 * kMiB) == NULL || Scratch(20, 30 * kMiB) != 0) return 1;
  return TakeAnything((size_t)10500 * kMiB) == NULL;
}

// What was freed stays in the pool, and another way asks for as much.
static int IdlePool(void) {
  enum { kPieces = 32 };
  void* pieces[kPieces];
  if (KeepWhatPoolsFree() != 0) return 3;
  for (int i = 0; i < kPieces; ++i)
    if (TakeMemoryInStreamOrder(&pieces[i], 256 * kMiB) != 0) return 3;
  for (int i = 0; i < kPieces; ++i)
    if (GiveMemoryBackInStreamOrder(pieces[i]) != 0) return 3;
  return TakeAnything((size_t)6000 * kMiB) == NULL;
}

int main(int count, char** arguments) {
  static const struct {
    const char* name;
    int (*run)(void);
  } kModes[] = {
      {"bursts", Bursts},
      {"workers", Workers},
      {"tasks", Tasks},
      {"two_leaks", TwoLeaks},
      {"table_and_leak", TableAndLeak},
      {"odd_pieces", OddPieces},
      {"doubling", Doubling},
      {"unheard", Unheard},
      {"idle_pool", IdlePool},
  };
  for (size_t i = 0; i < sizeof kModes / sizeof kModes[0]; ++i)
    if (count == 2 && strcmp(arguments[1], kModes[i].name) == 0) return kModes[i].run();
  fprintf(stderr, "usage: %s MODE\n", arguments[0]);
  return 2;
}
