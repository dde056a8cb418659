// A library that has a soname and needs libsimgpu.so, nothing else: it satisfies the loader's search for the NVIDIA
// library of that name, and dlsym() on its handle finds libsimgpu's functions. It exports nothing itself: glibc refuses
// an unversioned definition from the very library that a versioned reference names.
typedef int oomtrace_simgpu_shell;
