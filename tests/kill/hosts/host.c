// A program that does what programs do to a guest in their process: closes descriptors, forks, changes its root, takes
// signals. `host MODE [NUMBER]`; the modes stand in the table at the end.
//
// Its device calls go to cudart.c, its tensor events to allocator.c, both through the recorder's hooks. Each
// mode prints a line of what must be in the traces, or exits with 1 and says what went wrong.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

int cudaMalloc(void** pointer, size_t bytes);
int cudaFree(void* pointer);

struct device {
  int8_t type;
  int8_t index;
};
void _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE(void* block, int64_t bytes, size_t allocated,
                                                           size_t reserved, struct device device);

enum { kCuda = 1, kBlock = 512, kSegment = 1 << 20, kManyEvents = 700000 };  // many: more than one extent of the file
extern char** environ;

static void fail(const char* what) {
  dprintf(STDERR_FILENO, "%s: %s\n", what, strerror(errno));
  _exit(1);
}

// Each thread has blocks of its own.
static __thread uint64_t own_blocks = 0x7f0000000000u;

static void report(uint64_t number, int64_t bytes) {
  const uint64_t address = own_blocks + number % 4096 * 7919 % 4096 * kBlock;
  _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE((void*)address, bytes, 0, 4u << 20, (struct device){kCuda, 0});
}

// Blocks that are handed out and taken back, `count` of each.
static void churn(uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    report(i, kBlock);
    report(i, -kBlock);
  }
}

static void* allocate(size_t bytes) {
  void* pointer = NULL;
  if (cudaMalloc(&pointer, bytes) != 0) fail("cudaMalloc");
  return pointer;
}

static void begin(void) { allocate(kSegment); }

// Whether this process still holds a descriptor of a file with this ending.
static int holds(const char* ending) {
  for (int i = 0; i < 4096; ++i) {
    char link[64], target[4096];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", i);
    const ssize_t size = readlink(link, target, sizeof(target) - 1);
    if (size <= 0) continue;
    target[size] = 0;
    if (strstr(target, ending) != NULL) return i;
  }
  return -1;
}

static void close_before(long number) {
  close_range(3, ~0u, 0);
  begin();
  churn(kManyEvents);
  printf("blocks %d\n", kManyEvents);
}

static void close_during(long number) {
  begin();
  churn(1000);
  close_range(3, ~0u, 0);
  churn(kManyEvents);
  printf("blocks %d\n", kManyEvents + 1000);
}

// A file of our own takes the number of every descriptor there is.
static void replace_descriptors(long number) {
  begin();
  churn(1000);
  const int victim = open("victim", O_RDWR | O_CREAT, 0600);
  if (victim < 0 || write(victim, "mine", 4) != 4) fail("victim");
  for (int i = 3; i < 4096; ++i)
    if (i != victim && fcntl(i, F_GETFD) != -1 && dup2(victim, i) < 0) fail("dup2");
  churn(kManyEvents);
  struct stat state;
  if (fstat(victim, &state) != 0 || state.st_size != 4) {
    printf("the file of the host has %ld bytes\n", (long)state.st_size);
    exit(1);
  }
  printf("blocks %d\n", kManyEvents + 1000);
}

// Standard descriptors closed: what is opened next gets their numbers.
static void no_standard_streams(long number) {
  close(0);
  close(1);
  close(2);
  begin();
  churn(1000);
  // What a library prints must not land in the trace.
  for (int i = 0; i < 3; ++i) {
    const char text[] = "a message of some library, on whatever has this number";
    if (write(i, text, sizeof(text)) > 0) _exit(1);
  }
  _exit(0);
}

static void new_root(long number) {
  begin();
  churn(1000);
  if (mkdir("root", 0755) != 0 || chroot("root") != 0 || chdir("/") != 0) fail("chroot");
  churn(kManyEvents);
  dprintf(1, "blocks %d\n", kManyEvents + 1000);
}

static void drop_privileges(long number) {
  begin();
  churn(1000);
  if (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0) fail("setresuid");
  churn(kManyEvents);
  printf("blocks %d\n", kManyEvents + 1000);
}

static void remove_directory(long number) {
  begin();
  churn(1000);
  if (system("rm -rf traces") != 0) fail("rm");
  churn(kManyEvents);
  printf("alive\n");
}

static void wait_for(pid_t child) {
  int status = 0;
  if (waitpid(child, &status, 0) != child || status != 0) {
    printf("child ended with %d\n", status);
    exit(1);
  }
}

// Children of a process that records, in the middle of it: each has a trace of its own.
static void fork_live(long number) {
  begin();
  churn(1000);
  for (long i = 0; i < number; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      churn(500);  // CUDA itself would refuse this child; the recorder's part must work all the same
      exit(0);
    }
    wait_for(child);
  }
  churn(1000);
  printf("blocks 2000\n");
}

static void raw_clone(long number) {
  begin();
  churn(1000);
  const long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (child == 0) {
    churn(500);
    _exit(0);
  }
  wait_for((pid_t)child);
  churn(1000);
  printf("blocks 2000\n");
}

// A child that shares the memory until it calls exec.
static void vfork_exec(long number) {
  begin();
  churn(1000);
  for (long i = 0; i < number; ++i) {
    const pid_t child = vfork();
    if (child == 0) {
      execl("/bin/true", "true", NULL);
      _exit(1);
    }
    wait_for(child);
    churn(10);
  }
  printf("blocks %ld\n", 1000 + 10 * number);
}

static void spawn_cleared(long number) {
  begin();
  char* arguments[] = {"true", NULL};
  char* empty[] = {NULL};
  pid_t child;
  if (posix_spawn(&child, "/bin/true", NULL, NULL, arguments, empty) != 0) fail("posix_spawn");
  wait_for(child);
  churn(1000);
  printf("blocks 1000\n");
}

static void daemonize(long number) {
  int ready[2];
  if (pipe(ready) != 0) fail("pipe");
  if (fork() != 0) {
    char byte;
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1) fail("the daemon");
    printf("daemon\n");
    return;
  }
  setsid();
  if (fork() != 0) _exit(0);
  if (chdir("/") != 0) fail("chdir");
  for (int i = 0; i < 3; ++i) close(i);
  open("/dev/null", O_RDWR);
  begin();
  churn(1000);
  if (write(ready[1], "x", 1) != 1) _exit(1);
  exit(0);
}

static volatile sig_atomic_t signals_taken = 0;
static volatile sig_atomic_t recording_handlers = 0;

static void on_signal(int number) {
  const int before = errno;
  __atomic_fetch_add(&signals_taken, 1, __ATOMIC_RELAXED);
  if (recording_handlers) report(4000, kBlock);  // a hook inside whatever was interrupted: dropped or recorded
  errno = before;
}

static void take_signals(long microseconds) {
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGALRM, &action, NULL);  // no SA_RESTART: system calls are interrupted
  const struct itimerval every = {{0, microseconds}, {0, microseconds}};
  setitimer(ITIMER_REAL, &every, NULL);
}

static void* churn_thread(void* count) {
  static uint64_t threads_before = 0;
  own_blocks += (__atomic_fetch_add(&threads_before, 1, __ATOMIC_RELAXED) + 1) * 8192 * kBlock;
  churn((uint64_t)(uintptr_t)count);
  return NULL;
}

static void run_threads(int threads, uintptr_t blocks) {
  pthread_t ids[512];
  for (int i = 0; i < threads; ++i)
    if (pthread_create(&ids[i], NULL, churn_thread, (void*)blocks) != 0) fail("pthread_create");
  for (int i = 0; i < threads; ++i) pthread_join(ids[i], NULL);
}

static void signals(long microseconds) {
  recording_handlers = 1;
  take_signals(microseconds);
  begin();
  run_threads(8, 200000);
  const struct itimerval never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &never, NULL);
  if (signals_taken == 0) fail("no signal came");
  printf("blocks 1600000 signals %d\n", (int)signals_taken);
}

static void exit_in_handler(int number) { exit(9); }

static void exit_from_handler(long number) {
  struct sigaction action = {.sa_handler = exit_in_handler};
  sigaction(SIGALRM, &action, NULL);
  begin();
  const struct itimerval once = {{0, 0}, {0, number}};
  setitimer(ITIMER_REAL, &once, NULL);
  for (;;) churn(1000);
}

static void threads(long number) {
  begin();
  for (int round = 0; round < 3; ++round) run_threads((int)number, 100);
  printf("blocks %ld\n", 3 * number * 100);
}

static long status_kib(const char* name) {
  FILE* file = fopen("/proc/self/status", "r");
  char line[256];
  long value = -1;
  while (file != NULL && fgets(line, sizeof(line), file) != NULL)
    if (strncmp(line, name, strlen(name)) == 0) value = atol(line + strlen(name) + 1);
  if (file != NULL) fclose(file);
  return value;
}

// What this process holds: lines of its map, descriptors, resident memory.
static void print_holdings(void) {
  long mappings = 0, descriptors = 0, resident = 0;
  FILE* file = fopen("/proc/self/maps", "r");
  for (int c; file != NULL && (c = fgetc(file)) != EOF;) mappings += c == '\n';
  if (file != NULL) fclose(file);
  for (int i = 0; i < 4096; ++i) descriptors += fcntl(i, F_GETFD) != -1;
  resident = status_kib("VmRSS");
  printf("mappings %ld descriptors %ld resident_kib %ld\n", mappings, descriptors, resident);
}

// Threads that come and go, one after the other: their state is used again.
static void thread_cycles(long number) {
  begin();
  for (long i = 0; i < number; ++i) run_threads(1, 10);
  print_holdings();
}

// Recorders that come and go, in children of a process that records.
static void fork_cycles(long number) {
  begin();
  for (long i = 0; i < number; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      churn(10);
      exit(0);
    }
    wait_for(child);
    churn(10);
  }
  print_holdings();
}

static void parallel(long number) {
  begin();
  run_threads((int)number, 400000);
  printf("blocks %ld\n", number * 400000);
}

// The first event comes from a thread with hardly any stack.
static void small_stacks(long number) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  if (pthread_attr_setstacksize(&attributes, 64 << 10) != 0) fail("stack size");
  pthread_t thread;
  if (pthread_create(&thread, &attributes, churn_thread, (void*)1000) != 0) fail("pthread_create");
  pthread_join(thread, NULL);
  printf("blocks 1000\n");
}

static sigjmp_buf jump;
static void jump_in_handler(int number) { siglongjmp(jump, 1); }

// Leaves whatever runs, hooks among it, by longjmp; what comes afterwards must be recorded.
static void longjmp_out(long number) {
  struct sigaction action = {.sa_handler = jump_in_handler};
  sigaction(SIGALRM, &action, NULL);
  begin();
  for (volatile long i = 0; i < number; ++i) {
    if (sigsetjmp(jump, 1) != 0) continue;
    const struct itimerval once = {{0, 0}, {0, 100}};
    setitimer(ITIMER_REAL, &once, NULL);
    for (;;) churn(10);
  }
  run_threads(2, 1000);
  printf("blocks 2000\n");
}

static void* churn_for_ever(void* number) {
  churn_thread(NULL);
  for (long i = 1;; ++i) {
    churn(1000);
    dprintf(STDOUT_FILENO, "%ld %ld\n", (long)(intptr_t)number, 1000 * i);
  }
  return NULL;
}

// Threads that go on until they are killed, and say how many blocks each has had.
static void for_ever(long number) {
  begin();
  pthread_t thread;
  for (intptr_t i = 0; i < number; ++i)
    if (pthread_create(&thread, NULL, churn_for_ever, (void*)i) != 0) fail("pthread_create");
  pthread_join(thread, NULL);
}

// Takes memory until the kernel ends it; says how many blocks it had by then.
static void eat(long number) {
  begin();
  for (long i = 1;; ++i) {
    churn(1000);
    printf("%ld\n", 1000 * i);
    fflush(stdout);
    memset(malloc(1 << 20), 1, 1 << 20);
  }
}

// An endless job: what it holds resident, in KiB, at the end.
static void endless(long millions) {
  begin();
  const long before = status_kib("VmRSS");
  churn((uint64_t)millions * 500000);
  printf("blocks %ld resident_kib %ld before_kib %ld descriptor %d\n", millions * 500000, status_kib("VmRSS"), before,
         holds(".oomtrace"));
}

static const struct {
  const char* name;
  void (*run)(long number);
} kModes[] = {
    {"close_before", close_before},
    {"close_during", close_during},
    {"replace_descriptors", replace_descriptors},
    {"no_standard_streams", no_standard_streams},
    {"new_root", new_root},
    {"drop_privileges", drop_privileges},
    {"remove_directory", remove_directory},
    {"fork_live", fork_live},
    {"raw_clone", raw_clone},
    {"vfork_exec", vfork_exec},
    {"spawn_cleared", spawn_cleared},
    {"daemonize", daemonize},
    {"signals", signals},
    {"exit_from_handler", exit_from_handler},
    {"threads", threads},
    {"thread_cycles", thread_cycles},
    {"fork_cycles", fork_cycles},
    {"parallel", parallel},
    {"small_stacks", small_stacks},
    {"longjmp", longjmp_out},
    {"for_ever", for_ever},
    {"eat", eat},
    {"endless", endless},
};

int main(int count, char** arguments) {
  for (size_t i = 0; count > 1 && i < sizeof(kModes) / sizeof(kModes[0]); ++i) {
    if (strcmp(kModes[i].name, arguments[1]) != 0) continue;
    kModes[i].run(count > 2 ? atol(arguments[2]) : 0);
    return 0;
  }
  fprintf(stderr, "usage: host MODE [NUMBER]\n");
  return 2;
}
