// The versions of the libraries that exist under two sonames: a program that was built with CUDA 12 asks for
// cudaRuntimeGetVersion@libcudart.so.12 and is told 12. Everything else is libsimgpu's, the same for both.
// Compiled once for each such shell, with SIMGPU_<library> set to the soname's number.

#if defined(SIMGPU_libcudart)
// 12.8 and 13.0: the newest runtime of PyTorch's CUDA 12 wheels, and the headers' own.
int cudaRuntimeGetVersion(int* version) {
  *version = SIMGPU_libcudart == 12 ? 12080 : 13000;
  return 0;
}
#endif

#if defined(SIMGPU_libnvrtc)
int nvrtcVersion(int* major, int* minor) {
  *major = SIMGPU_libnvrtc;
  *minor = SIMGPU_libnvrtc == 12 ? 8 : 0;
  return 0;
}
#endif
