// What the files that define cuBLAS share.
#pragma once

namespace oomtrace::simgpu {

// The stream that cublasSetStream named last, nullptr: the default one.
void* CublasStream(void* handle);

}  // namespace oomtrace::simgpu
