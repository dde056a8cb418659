// Programs with a CUDA runtime of their own, statically linked (nvcc's default; CuPy's wheels).
//
// Such a runtime starts by asking the driver for private tables that no header describes, and gives up where they are
// missing: nothing above the driver API can be simulated below it. So its functions are redirected instead: the
// beginning of each is overwritten with a jump to this library's function of the same name. Those that have a driver
// function of the same signature go there, through the doors that the real runtime takes (dlsym, cuGetProcAddress), so
// that whatever watches these doors sees the calls that it would see on a real GPU.
//
// The functions are found in the object's symbol table: of a stripped program nothing is redirected, and it ends with
// the driver's "not supported".
#pragma once

namespace oomtrace::simgpu {

// Redirects the runtimes in the objects loaded since the last call. `run_registration`: the objects' constructors,
// which register kernels, ran before; they are repeated. Any thread; not from constructors under the loader's lock.
void RedirectStaticRuntimes(bool run_registration);

}  // namespace oomtrace::simgpu
