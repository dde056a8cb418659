// A program whose CUDA comes and goes with plugins. `plugin_host RUNTIME…`: loads each library in turn for all to use,
// asks it for memory and gives it up. `plugin_host -unload LIBRARY RUNTIME`: the recorder itself is the plugin.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
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

int main(int count, char** arguments) {
  if (count == 4 && strcmp(arguments[1], "-unload") == 0) return unload_recorder(arguments[2], arguments[3]);
  for (int i = 1; i < count; ++i) {
    void* library = load(arguments[i]);
    if (library == NULL || allocate(RTLD_DEFAULT) == NULL) return 1;
    dlclose(library);
  }
  return 0;
}
