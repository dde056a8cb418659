// What the files that define cuDNN share.
#pragma once

#include <cstddef>

namespace oomtrace::simgpu {

// The stream that cudnnSetStream named last, nullptr: the default one.
void* CudnnStream(void* handle);

// The first `most` data pointers of a variant pack: what a plan is executed on. The rest stays as it is.
void CudnnPointers(void* variant_pack, const void** pointers, size_t most);

}  // namespace oomtrace::simgpu
