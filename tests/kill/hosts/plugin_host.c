// A program whose CUDA comes and goes with plugins. `plugin_host RUNTIME…`: loads each library in turn for all to use,
// asks it for memory and gives it up. `plugin_host -unload LIBRARY RUNTIME`: the recorder itself is the plugin.
// `plugin_host -cycles NUMBER LIBRARY RUNTIME`: recorder and runtime come and go together, and it prints what is held
// then.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void* load(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (library == NULL) fprintf(stderr, "%s\n", dlerror());
  return library;
}

static void* allocate(void* scope) {
  int (*get)(void**, size_t);
  void* pointer = NULL;
  *(void**)&get = dlsym(scope, "cudaMalloc");
  return get != NULL && get(&pointer, 1 << 20) == 0 ? pointer : NULL;
}

static int unload_recorder(const char* recorder, const char* runtime) {
  void* guest = load(recorder);
  if (guest == NULL || load(runtime) == NULL) return 1;
  pthread_t thread;
  void* result = NULL;
  if (pthread_create(&thread, NULL, allocate, guest) != 0) return 1;
  dlclose(guest);  // its thread keys and exit handlers are still registered
  pthread_join(thread, &result);
  return result != NULL ? 0 : 1;
}

static int cycles(long number, const char* recorder, const char* runtime) {
  for (long i = 0; i < number; ++i) {
    void* guest = load(recorder);
    void* library = load(runtime);
    if (guest == NULL || library == NULL || allocate(guest) == NULL) return 1;
    dlclose(library);
    dlclose(guest);
  }
  long mappings = 0, descriptors = 0, resident = 0;
  FILE* file = fopen("/proc/self/maps", "r");
  for (int c; file != NULL && (c = fgetc(file)) != EOF;) mappings += c == '\n';
  if (file != NULL) fclose(file);
  for (int i = 0; i < 4096; ++i) descriptors += fcntl(i, F_GETFD) != -1;
  file = fopen("/proc/self/statm", "r");
  if (file == NULL || fscanf(file, "%*d %ld", &resident) != 1) return 1;
  fclose(file);
  printf("mappings %ld descriptors %ld resident_pages %ld\n", mappings, descriptors, resident);
  return 0;
}

int main(int count, char** arguments) {
  if (count == 4 && strcmp(arguments[1], "-unload") == 0) return unload_recorder(arguments[2], arguments[3]);
  if (count == 5 && strcmp(arguments[1], "-cycles") == 0) return cycles(atol(arguments[2]), arguments[3], arguments[4]);
  for (int i = 1; i < count; ++i) {
    void* library = load(arguments[i]);
    if (library == NULL || allocate(RTLD_DEFAULT) == NULL) return 1;
    dlclose(library);
  }
  return 0;
}
